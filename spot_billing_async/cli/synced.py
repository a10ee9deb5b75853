"""How a sync is told: its plan, its books, what was restated, what differs. Pure."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from spot_billing_async import Failed
from spot_billing_async.cli.output import Record, plain, totals_text

if TYPE_CHECKING:
    from spot_billing_async.table import Change, Difference, SyncPlan, SyncReport

_FAILURES_SHOWN = 5

CHANGES = ("account", "days", "currency", "old", "new", "difference")
DIFFERENCES = ("account", "days", "currency", "table", "api")


def plan_line(plan: "SyncPlan") -> str:
    """What a sync would take."""
    line = (
        f"{plan.requests:,} requests for {plan.due_days:,} days of accounts; "
        f"{plan.skipped_days:,} days are there"
    )
    if plan.rate_limit is None or plan.least_s is None:
        return f"{line}; the server's rate limit is not known yet"
    limit, window_s = plan.rate_limit
    return f"{line}; at {limit:,} requests in {window_s:g} s that takes {plan.least_s:g} s or more"


def report_lines(report: "SyncReport") -> Iterator[str]:
    """The books in a line."""
    counts = {
        "there": report.skipped_days,
        "new": report.new_days,
        "restated": report.changed_days,
        "unchanged": report.unchanged_days,
        "failed": report.failed_days,
        "not started": report.not_started_days,
    }
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    yield (
        f"{report.planned_days:,} days of accounts: {told}; {report.requests:,} requests, "
        f"{report.rows_written:,} rows written; total {totals_text(report.totals)} "
        f"in {report.elapsed_s:.1f} s"
    )


def missing_lines(report: "SyncReport") -> Iterator[str]:
    """What failed, the first few of each kind."""
    yield from _failure_lines("missing", report.failures)
    yield from _failure_lines("not reconciled", report.unreconciled)


def change_records(changes: Iterable["Change"]) -> Iterator[Record]:
    """A line for each change."""
    for change in changes:
        yield {
            "account": change.account_id,
            "days": _days(change),
            "currency": change.currency,
            "old": plain(change.old_total),
            "new": plain(change.new_total),
            "difference": plain(change.difference),
        }


def difference_records(differences: Iterable["Difference"]) -> Iterator[Record]:
    """A line for each difference."""
    for found in differences:
        yield {
            "account": found.account_id,
            "days": _days(found),
            "currency": found.currency,
            "table": plain(found.table_total),
            "api": plain(found.api_total),
        }


def _failure_lines(what: str, failures: tuple[Failed, ...]) -> Iterator[str]:
    for failure in failures[:_FAILURES_SHOWN]:
        query, error = failure.query, failure.error
        yield (
            f"{what}: {query.account_id} {query.from_date} to {query.to_date}: "
            f"{type(error).__name__}: {error}"
        )
    if len(failures) > _FAILURES_SHOWN:
        yield f"{what}: {len(failures) - _FAILURES_SHOWN:,} more"


def _days(found: "Change | Difference") -> str:
    if found.from_date == found.to_date:
        return found.from_date.isoformat()
    return f"{found.from_date} to {found.to_date}"
