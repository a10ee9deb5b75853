"""`spot-billing costs pull`: many slices into a file, and a report that adds up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol

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
from spot_billing_async.cli.api import Dimension, Members, dimension
from spot_billing_async.cli.output import progress_bar, say
from spot_billing_async.cli.pull_report import missing, report_chunks, summary
from spot_billing_async.cli.signals import Interrupted, interruptible
from spot_billing_async.export import CostWriter, ExportError, open_writer
from spot_billing_async.export.files import PendingFile

_INCOMPLETE = 3


class _PlanOf(Protocol):
    """Plans the pull of some accounts."""

    def __call__(self, accounts: Sequence[str | None]) -> CostPlan: ...


class _Books:
    """What is known of a pull: its run, once it has begun, and the slices that failed."""

    def __init__(self) -> None:
        self.run: PullRun[CostItem] | None = None
        self.failed: list[Failed] = []

    def close(self, report: PendingFile | None) -> None:
        """Write the report, if a run began.

        Its gist goes to standard error where no file is asked for, and where slices are missing.
        """
        if self.run is None:
            return
        if report is None or not self.run.report.complete:
            for line in summary(self.run.report, missing(self.run, self.failed)):
                say(line)
        if report is not None:
            chunks = report_chunks(self.run.report, missing(self.run, self.failed))
            try:
                report.stream.writelines(chunks)
                report.commit()
            except OSError as error:
                raise ExportError(f"the report cannot be written: {error.strerror}") from error


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
) -> int:
    """Pull the costs of many accounts, many requests at once, into a file.

    The file holds the slices that the report counts as ok; it appears under its name when the pull
    ends, and only if something came. Exit code 3 says that some slices are missing, 130 that Ctrl-C
    ended the pull early.

    Args:
        from_date: First day, included (YYYY-MM-DD).
        to_date: Last day, included (YYYY-MM-DD).
        account: Ids of the accounts: several after one option, or the option repeated.
        all_accounts: All accounts that the API lists.
        window: Days a request: day, week, month, quarter, whole, or a number of days.
        group_by: What each day's costs are broken down by.
        out: File ending in .jsonl, .csv or .parquet; - is JSON lines on standard output.
        report: File for the report, in JSON; left out: its gist goes to standard error.
    """
    plan_of = partial(
        CostPlan.build,
        from_date=from_date,
        to_date=to_date,
        window=int(window) if window.isdecimal() else window,  # type: ignore[arg-type]  # it checks
        group_by=dimension(group_by),
    )
    # What is wrong is refused before anything is opened or sent.
    if bool(account) == all_accounts:
        raise ConfigError("accounts: exactly one of --account and --all-accounts is needed")
    plan_of(account or ["all"])
    _require_two_files(out, report)
    books = _Books()
    with interruptible() as interruption, _report_file(report) as report_file:
        async with open_writer(out) as writer, SpotBillingClient() as client:
            with interruption.scope:
                await _drain(client, account, plan_of, writer, books)
            if books.run is None:
                raise Interrupted(interruption.exit_code or 1)
        # Not where the file could not be written: a report would count rows that are nowhere.
        books.close(report_file)
    return interruption.exit_code or (0 if books.run.report.complete else _INCOMPLETE)


async def _drain(
    client: SpotBillingClient,
    accounts: Sequence[str] | None,
    plan_of: _PlanOf,
    writer: CostWriter,
    books: _Books,
) -> None:
    """Pull into the writer; `books` shows how far it came, also where this is cancelled."""
    plan = plan_of(accounts or [account.account_id for account in await client.accounts.list()])
    books.run = client.costs.pull(plan)
    with progress_bar("slices") as progress:
        task = progress.add_task("Pulling", total=len(plan))
        async with books.run as run:
            async for outcome in run:
                if isinstance(outcome, Fetched):
                    await writer.write(outcome)
                else:
                    books.failed.append(outcome)
                progress.advance(task)


def _require_two_files(out: str, report: Path | None) -> None:
    if report is not None and report.resolve() == Path(out).resolve():
        raise ConfigError(f"report: {str(report)!r} is the file of --out; allowed: another one")


@contextmanager
def _report_file(path: Path | None) -> Iterator[PendingFile | None]:
    """The file of the report, opened before anything is sent; removed where it stays unused."""
    if path is None:
        yield None
        return
    file = PendingFile(path)
    try:
        yield file
    finally:
        file.discard()
