"""`spot-billing costs pull`: many slices into one file, and a report that adds up."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from spot_billing_async import (
    ConfigError,
    CostItem,
    CostPlan,
    Failed,
    Fetched,
    PullRun,
    SpotBillingClient,
)
from spot_billing_async.cli.api import Dimension, Members, to_group_by
from spot_billing_async.cli.output import AvailabilityPrinter, print_stderr, progress_bar
from spot_billing_async.cli.pull_report import encode_report, missing_slices, summary_lines
from spot_billing_async.cli.signals import Interrupted, interruptible
from spot_billing_async.export import CostWriter, ExportError, open_writer
from spot_billing_async.export.atomic_file import PendingFile

_INCOMPLETE = 3

_PlanBuilder: TypeAlias = Callable[[Sequence[str | None]], CostPlan]


class _PullState:
    """State of a pull that is also needed after a cancellation.

    Attributes:
        run: the run; None until the accounts are known.
        failed: outcomes of the failed slices.
        availability: prints outages of the API.
    """

    def __init__(self) -> None:
        self.run: PullRun[CostItem] | None = None
        self.failed: list[Failed] = []
        self.availability: AvailabilityPrinter = AvailabilityPrinter()


async def pull(
    *,
    from_date: Annotated[date, Parameter(name="--from")],
    to_date: Annotated[date, Parameter(name="--to")],
    account: Members = None,
    all_accounts: bool = False,
    window: str = "month",
    group_by: Dimension = "service",
    out: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    report: Path | None = None,
    spreadsheet: bool = False,
) -> int:
    """Pull the costs of many accounts into a file, with many requests at once.

    The file holds the slices that the report counts as ok. It is created when the pull ends, and
    only if at least one slice is ok or empty. Exit code 3: slices are missing; 130: interrupted by
    Ctrl-C, and the slices pulled so far are in the file.

    Args:
        from_date: First day, included (YYYY-MM-DD).
        to_date: Last day, included (YYYY-MM-DD).
        account: Account ids; takes several ids, and may be repeated.
        all_accounts: Pull all accounts that the API lists.
        window: Days per request: day, week, month, quarter, whole, or a number of days.
        group_by: Dimension that splits the costs of each day.
        out: File ending in .jsonl, .csv or .parquet; - writes JSON lines to standard output.
        report: File for the JSON report; by default a summary goes to standard error.
        spreadsheet: Write CSV whose texts a spreadsheet cannot run as formulas; --out must end in
            .csv.
    """
    build_plan = partial(
        CostPlan.build,
        from_date=from_date,
        to_date=to_date,
        window=int(window) if window.isdecimal() else window,  # type: ignore[arg-type]  # it checks
        group_by=to_group_by(group_by),
    )
    # All arguments are checked before a file is opened or a request is sent.
    if bool(account) == all_accounts:
        raise ConfigError("exactly one of --account and --all-accounts is required")
    build_plan(account or ["all"])  # the ids of all accounts are not known yet
    state = _PullState()
    with interruptible() as interruption, _open_report(report, out) as report_file:
        async with (
            open_writer(out, spreadsheet=spreadsheet) as writer,
            SpotBillingClient(hook=state.availability) as client,
        ):
            with interruption.scope:
                await _pull_slices(client, account, build_plan, writer, state)
            if state.run is None:
                raise Interrupted(interruption.exit_code or 1)
        # After the writer has closed: if it fails, a report would count rows that no file has.
        _write_report(state.run, state.failed, report_file)
    return interruption.exit_code or (0 if state.run.report.complete else _INCOMPLETE)


async def _pull_slices(
    client: SpotBillingClient,
    accounts: Sequence[str] | None,
    build_plan: _PlanBuilder,
    writer: CostWriter,
    state: _PullState,
) -> None:
    """Write the fetched slices and record the failed ones; `state` survives a cancellation."""
    plan = build_plan(accounts or [account.account_id for account in await client.accounts.list()])
    state.run = client.costs.pull(plan)
    with progress_bar("slices") as progress:
        state.availability.progress = progress
        task = progress.add_task("Pulling", total=len(plan))
        async with state.run as run:
            async for outcome in run:
                if isinstance(outcome, Fetched):
                    await writer.write(outcome)
                else:
                    state.failed.append(outcome)
                progress.advance(task)


@contextmanager
def _open_report(path: Path | None, out: str) -> Iterator[PendingFile | None]:
    """Open the report file before a request is sent; remove it unless it is committed.

    Raises:
        ConfigError: the file cannot be written, or is the file of the rows.
    """
    if path is None:
        yield None
        return
    if path.resolve() == Path(out).resolve():
        raise ConfigError(f"--report must be another file than --out, got {str(path)!r}")
    file = PendingFile(path)
    try:
        yield file
    finally:
        file.discard()


def _write_report(
    run: PullRun[CostItem], failed: Sequence[Failed], report_file: PendingFile | None
) -> None:
    """Write the report file, if there is one.

    Without a report file, and if slices are missing, a summary goes to standard error.

    Raises:
        ExportError: the file cannot be written.
    """
    if report_file is None or not run.report.complete:
        for line in summary_lines(run.report, missing_slices(run, failed)):
            print_stderr(line)
    if report_file is not None:
        try:
            report_file.stream.writelines(encode_report(run.report, missing_slices(run, failed)))
            report_file.commit()
        except OSError as error:
            raise ExportError(f"the report cannot be written: {error.strerror}") from error
