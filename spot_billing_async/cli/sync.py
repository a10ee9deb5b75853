"""`spot-billing costs sync` and `costs show`: update a Delta table of costs, and print totals."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from anyio.to_thread import run_sync
from cyclopts import Parameter

from spot_billing_async import ConfigError, GroupBy, SpotBillingClient
from spot_billing_async.cli.api import Dimension, Members, to_group_by
from spot_billing_async.cli.output import (
    AvailabilityPrinter,
    OutputFormat,
    Record,
    print_records,
    print_stderr,
    print_stdout,
    print_table,
    progress_bar,
    resolve_format,
    to_table,
)
from spot_billing_async.cli.signals import Interrupted, interruptible
from spot_billing_async.cli.sparkline import ranked_totals
from spot_billing_async.cli.sync_output import (
    CHANGE_COLUMNS,
    DIFFERENCE_COLUMNS,
    TOTAL_COLUMNS,
    change_records,
    coverage_line,
    difference_records,
    first_records,
    missing_lines,
    plan_line,
    reconciled_line,
    report_line,
)
from spot_billing_async.models.validation import check_count

if TYPE_CHECKING:
    from spot_billing_async.table import SyncReport

T = TypeVar("T")

_INCOMPLETE = 3
_MUTABLE_DAYS = 45  # as `table.sync.MUTABLE_DAYS`, whose module needs the extra table


async def sync(
    *,
    table: str,
    from_date: Annotated[date, Parameter(name="--from")],
    to_date: Annotated[date, Parameter(name="--to")],
    account: Members = None,
    all_accounts: bool = False,
    group_by: Dimension = "service",
    window: str = "auto",
    mutable_days: int = _MUTABLE_DAYS,
    max_requests: int | None = None,
    reconcile: bool = False,
    dry_run: bool = False,
) -> int:
    """Update a Delta table of costs from the API, with as few requests as possible.

    Fetches the days that the table lacks and the days that may have been restated. Committed days
    are kept however the command ends, and the next run continues from them. Exit code 3: days are
    missing or sums differ; 130: interrupted by Ctrl-C.

    Args:
        table: Folder of the table, or its URI in an object store; created if it does not exist.
        from_date: First day, included (YYYY-MM-DD).
        to_date: Last day, included (YYYY-MM-DD).
        account: Account ids; takes several ids, and may be repeated.
        all_accounts: Sync all accounts that the API lists; the list takes one more request.
        group_by: Dimension that splits the costs of each day.
        window: Days per request: auto (as many as the server accepts), day, week, month, quarter,
            whole, or a number of days.
        mutable_days: Age in days at which a day is final; a day fetched at a lower age is fetched
            again.
        max_requests: Largest number of cost requests, retries included; the remaining days are
            not started.
        reconcile: Compare the sums at the end, with one wide request for each account.
        dry_run: Print the number of requests and the time they take at least; send no cost
            request. Before the first sync, the number is a lower bound.
    """
    # Late: deltalake belongs to an extra.
    from spot_billing_async import table as tables  # noqa: PLC0415  see above
    from spot_billing_async.table.scope import checked_scope  # noqa: PLC0415  see above

    options: dict[str, Any] = {
        "from_date": from_date,
        "to_date": to_date,
        "group_by": to_group_by(group_by),
        "window": int(window) if window.isdecimal() else window,
        "mutable_days": mutable_days,
    }
    # All arguments are checked before the table is opened or a request is sent.
    if bool(account) == all_accounts:
        raise ConfigError("exactly one of --account and --all-accounts is required")
    # The ids of all accounts are not known yet: "all" stands for them in this check.
    scope = checked_scope(table, accounts=account or ["all"], today=None, **options)
    if max_requests is not None:
        check_count("max_requests", max_requests)
    with interruptible() as interruption:
        with interruption.scope:
            availability = AvailabilityPrinter()
            async with SpotBillingClient(hook=availability) as client:
                options["accounts"] = account or await _list_accounts(
                    client, scope.table, to_write=not dry_run
                )
                if dry_run:
                    print_stdout(plan_line(await tables.plan(table, **options, client=client)))
                    return 0
                options |= {"max_requests": max_requests, "reconcile": reconcile}
                report = await _sync_with_progress(client, table, options, availability)
                return _print_report(report, len(set(options["accounts"])) if reconcile else 0)
        print_stderr("interrupted: committed days are kept; run the command again to continue")
        raise Interrupted(interruption.exit_code or 1)


async def _list_accounts(
    client: SpotBillingClient, table: str, *, to_write: bool
) -> Sequence[str | None]:
    """Return the ids of all accounts; check the table first, so that a bad one costs no request."""
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table.storage.store import TableStore  # noqa: PLC0415  see above

    await run_sync(partial(TableStore.open, table, to_write=to_write))
    return [account.account_id for account in await client.accounts.list()]


async def _sync_with_progress(
    client: SpotBillingClient,
    table: str,
    options: dict[str, Any],
    availability: AvailabilityPrinter,
) -> "SyncReport":
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table import sync as sync_table  # noqa: PLC0415  see above

    with progress_bar("account-days") as progress:
        availability.progress = progress
        task = progress.add_task("Syncing", total=None)
        return await sync_table(
            client,
            table,
            **options,
            progress=lambda done, due: progress.update(task, completed=done, total=due),
        )


def _print_report(report: "SyncReport", accounts_to_reconcile: int) -> int:
    """Print the result of a sync, and return the exit code."""
    _print_first("Restated", CHANGE_COLUMNS, report.changes, change_records)
    _print_first(
        "Differences from the API", DIFFERENCE_COLUMNS, report.differences, difference_records
    )
    print_stdout(report_line(report))
    reconciled = reconciled_line(report, accounts_to_reconcile)
    if reconciled is not None:
        print_stdout(reconciled)
    for line in missing_lines(report):
        print_stderr(line)
    return 0 if report.complete else _INCOMPLETE


def _print_first(
    title: str,
    columns: Sequence[str],
    values: Sequence[T],
    to_records: Callable[[Iterable[T]], Iterable[Record]],
) -> None:
    """Print a table of the first values, and how many follow; nothing without a value."""
    if values:
        records, rest = first_records(values, to_records)
        print_table(to_table(columns, records, title=title))
        if rest is not None:
            print_stdout(rest)


async def show(
    *,
    table: str,
    by: GroupBy | None = None,
    since: date | None = None,
    output_format: OutputFormat = None,
) -> None:
    """Show the total costs of a table, with a sparkline of each by day; sends no request.

    The last line names the breakdown, accounts and days that the totals cover. It goes to standard
    error where the totals are printed as JSON or CSV.

    Args:
        table: Folder of the table, or its URI in an object store.
        by: Dimension of the totals; by default the breakdown that the table has. 'account' works
            with any breakdown, and uses the one that covers the most account-days.
        since: First day, included (YYYY-MM-DD); by default all days.
        output_format: Output format.
    """
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table.query import read_summary  # noqa: PLC0415  see above

    summary = await read_summary(table, by, since)
    records = list(ranked_totals(summary.sums))
    coverage = coverage_line(summary, since)
    if resolve_format(output_format) != "table":
        print_records(TOTAL_COLUMNS, records, output_format)
        # Not on standard output, which a program may be parsing.
        print_stderr(coverage)
        return
    if records:
        print_table(to_table((*TOTAL_COLUMNS, "by day"), records))
    print_stdout(coverage)
