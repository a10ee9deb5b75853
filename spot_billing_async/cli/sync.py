"""`spot-billing costs sync` and `costs show`: a Delta table of costs, and what it comes to."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from anyio.to_thread import run_sync
from cyclopts import Parameter

from spot_billing_async import ConfigError, SpotBillingClient
from spot_billing_async.cli.api import Dimension, Members, dimension
from spot_billing_async.cli.output import (
    Format,
    Record,
    as_table,
    chosen,
    console,
    progress_bar,
    say,
    show_records,
)
from spot_billing_async.cli.signals import Interrupted, interruptible
from spot_billing_async.cli.sparkline import ranking
from spot_billing_async.cli.sync_output import (
    CHANGES,
    DIFFERENCES,
    SHOWN,
    change_records,
    difference_records,
    first_records,
    missing_lines,
    plan_line,
    reading_line,
    reconciled_lines,
    report_lines,
)
from spot_billing_async.models.validation import check_count

if TYPE_CHECKING:
    from spot_billing_async.table import SyncReport

T = TypeVar("T")

_INCOMPLETE = 3
_MUTABLE_DAYS = 45

By = Literal["account", "service", "region", "family"]


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
    """Bring a Delta table of costs in step with the API, with as few requests as possible.

    Asked for are the days that the table does not have, and those that may have been restated.
    Whatever ends it, what was committed stays, and the next run goes on from there. Exit code 3
    says that some days are missing or differ, 130 that Ctrl-C ended it early.

    Args:
        table: Folder of the table, or its URI in an object store; made where it is not there.
        from_date: First day, included (YYYY-MM-DD).
        to_date: Last day, included (YYYY-MM-DD).
        account: Ids of the accounts: several after one option, or the option repeated.
        all_accounts: All accounts that the API lists; that takes a request of its own.
        group_by: What each day's costs are broken down by.
        window: Days a request: auto (as many as the server bears), day, week, month, quarter,
            whole, or a number of days.
        mutable_days: A day is asked again until it was answered at this age.
        max_requests: Cost requests to send at most, retries included; the rest is not started.
        reconcile: In the end, compare the sums with one wide request for each account.
        dry_run: Tell how many requests it takes, and how long at least; send none of them.
    """
    # Late: deltalake belongs to an extra.
    from spot_billing_async import table as tables  # noqa: PLC0415  see above
    from spot_billing_async.table.scope import checked_scope  # noqa: PLC0415  see above

    options: dict[str, Any] = {
        "from_date": from_date,
        "to_date": to_date,
        "group_by": dimension(group_by),
        "window": int(window) if window.isdecimal() else window,
        "mutable_days": mutable_days,
    }
    # What is wrong is refused before anything is opened or sent.
    if bool(account) == all_accounts:
        raise ConfigError("accounts: exactly one of --account and --all-accounts is needed")
    scope = checked_scope(table, accounts=account or ["all"], today=None, **options)
    if max_requests is not None:
        check_count("max_requests", max_requests)
    with interruptible() as interruption:
        with interruption.scope:
            async with SpotBillingClient() as client:
                options["accounts"] = account or await _listed(
                    client, scope.table, to_write=not dry_run
                )
                if dry_run:
                    console().print(plan_line(await tables.plan(table, **options, client=client)))
                    return 0
                options |= {"max_requests": max_requests, "reconcile": reconcile}
                report = await _synced(client, table, options)
                return _told(report, len(set(options["accounts"])) if reconcile else 0)
        say("interrupted: what was committed stays; run it again to go on")
        raise Interrupted(interruption.exit_code or 1)


async def _listed(client: SpotBillingClient, table: str, *, to_write: bool) -> Sequence[str | None]:
    """All accounts; not asked for where the table cannot be used anyway."""
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table.storage.store import TableStore  # noqa: PLC0415  see above

    await run_sync(partial(TableStore.open, table, to_write=to_write))
    return [account.account_id for account in await client.accounts.list()]


async def _synced(client: SpotBillingClient, table: str, options: dict[str, Any]) -> "SyncReport":
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table import sync as sync_table  # noqa: PLC0415  see above

    with progress_bar("days of accounts") as progress:
        task = progress.add_task("Syncing", total=None)
        return await sync_table(
            client,
            table,
            **options,
            progress=lambda done, due: progress.update(task, completed=done, total=due),
        )


def _told(report: "SyncReport", reconciled_accounts: int) -> int:
    """Print what became of a sync; the exit code."""
    _print_first("Restated", CHANGES, report.changes, change_records)
    _print_first("Different from the API", DIFFERENCES, report.differences, difference_records)
    for line in (*report_lines(report), *reconciled_lines(report, reconciled_accounts)):
        console().print(line)
    for line in missing_lines(report):
        say(line)
    return 0 if report.complete else _INCOMPLETE


def _print_first(
    title: str,
    columns: Sequence[str],
    found: Sequence[T],
    records: Callable[[Iterable[T]], Iterable[Record]],
) -> None:
    """Print the first of what was found, if anything was."""
    if found:
        lines, more = first_records(found, records)
        console().print(as_table(columns, lines, title=title))
        if more is not None:
            console().print(more)


async def show(
    *, table: str, by: By | None = None, since: date | None = None, form: Format = None
) -> None:
    """Show what a table comes to, from the table alone: totals, and how they went day by day.

    A last line says what was added up: breakdown, days and number of accounts. It goes to standard
    error where a program may be reading the rest.

    Args:
        table: Folder of the table, or its URI.
        by: What to add up by; left out: the breakdown that the table has. By account, the
            breakdown is taken that was answered for most days of accounts.
        since: First day, included (YYYY-MM-DD); left out: all days.
        form: How to print.
    """
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table.query import read_summary  # noqa: PLC0415  see above

    reading = await read_summary(table, by, since)
    records = list(ranking(reading.sums))
    line = reading_line(reading, since)
    if chosen(form) != "table":
        show_records(SHOWN, records, form)
        say(line)
        return
    if records:
        console().print(as_table((*SHOWN, "by day"), records))
    console().print(line)
