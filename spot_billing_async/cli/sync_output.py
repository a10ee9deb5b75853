"""How a sync is told: its plan, its books, what was restated, what differs. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from spot_billing_async import Failed, NotFoundError
from spot_billing_async.cli.output import Record, counted, totals_text
from spot_billing_async.errors import RequestLimitReachedError
from spot_billing_async.models.money import plain, totals_by_currency

if TYPE_CHECKING:
    from spot_billing_async.table import Change, Difference, SyncPlan, SyncReport


T = TypeVar("T")


_FAILURES_SHOWN = 5


_RECORDS_SHOWN = 20


_NEXT_STEP = " (spot-billing accounts list tells which accounts there are)"


CHANGES = ("account", "days", "currency", "old", "new", "difference")


DIFFERENCES = ("account", "days", "currency", "table", "api")


def plan_line(plan: "SyncPlan") -> str:
    """What a sync would take."""
    least = "at least " if plan.is_lower_bound else ""
    are = "is" if plan.skipped_days == 1 else "are"
    line = (
        f"{least}{counted(plan.requests, 'request')} for {_days_of_accounts(plan.due_days)}; "
        f"{counted(plan.skipped_days, 'day')} {are} there"
    )
    if plan.rate_limit is None or plan.least_s is None:
        return f"{line}; the server's rate limit is not known yet"
    limit, window_s = plan.rate_limit
    return (
        f"{line}; at {counted(limit, 'request')} in {window_s:g} s "
        f"that takes {plan.least_s:g} s or more"
    )


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
    so_far = "so far " if report.failed_days or report.not_started_days else ""
    yield (
        f"{_days_of_accounts(report.planned_days)}: {told}; {counted(report.requests, 'request')}, "
        f"{counted(report.rows_written, 'row')} written; total {so_far}"
        f"{totals_text(report.totals)} in {report.elapsed_s:.1f} s"
    )


def reconciled_lines(report: "SyncReport", accounts: int) -> Iterator[str]:
    """What reconciling some accounts came to; of those that were not, `missing_lines` tells."""
    compared = accounts - len({failure.query.account_id for failure in report.unreconciled})
    differ = len({found.account_id for found in report.differences})
    told = {0: "none differs", 1: "1 differs"}.get(differ, f"{differ:,} differ")
    if compared:
        yield f"{counted(compared, 'account')} reconciled, {told}"


def missing_lines(report: "SyncReport") -> Iterator[str]:
    """What is missing, the first few failures of each kind."""
    yield from _failure_lines("missing", report.failures)
    if report.not_started_days:
        yield f"not started: {_days_of_accounts(report.not_started_days)}; run it again to go on"
    spent, others = set(), []
    for failure in report.unreconciled:
        if isinstance(failure.error, RequestLimitReachedError):
            spent.add(failure.query.account_id)
        else:
            others.append(failure)
    yield from _failure_lines("not reconciled", others)
    if spent:
        yield f"not reconciled: {counted(len(spent), 'account')}, as --max-requests are spent"


def first_records(
    found: Sequence[T], records: Callable[[Iterable[T]], Iterable[Record]]
) -> tuple[list[Record], str | None]:
    """The first lines of a table, and a line on how many more there are."""
    more = len(found) - _RECORDS_SHOWN
    return list(records(found[:_RECORDS_SHOWN])), f"… and {more:,} more" if more > 0 else None


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


def _failure_lines(what: str, failures: Sequence[Failed]) -> Iterator[str]:
    for failure in failures[:_FAILURES_SHOWN]:
        query, error = failure.query, failure.error
        hint = _NEXT_STEP if isinstance(error, NotFoundError) else ""
        yield (
            f"{what}: {query.account_id} {query.from_date} to {query.to_date}: "
            f"{type(error).__name__}: {error}{hint}"
        )
    if len(failures) > _FAILURES_SHOWN:
        yield f"{what}: {len(failures) - _FAILURES_SHOWN:,} more"


def _days_of_accounts(days: int) -> str:
    return f"{counted(days, 'day')} of accounts"


def _days(found: "Change | Difference") -> str:
    if found.from_date == found.to_date:
        return found.from_date.isoformat()
    return f"{found.from_date} to {found.to_date}"


if TYPE_CHECKING:
    from spot_billing_async.table.query import TableSummary


SHOWN = ("name", "cost", "currency", "days")


def reading_line(reading: "TableSummary", since: date | None) -> str:
    """The totals, and which breakdown, days and accounts they are of."""
    what = _covered(reading)
    if reading.sums:
        totals = totals_by_currency(
            [each.total for each in reading.sums], [each.currency for each in reading.sums]
        )
        return f"total {totals_text(totals)}; {what}"
    if since is not None:
        return f"no rows since {since}" + (f"; {what}" if what else "")
    return f"no rows; {what}" if what else "the table is empty"


def _covered(reading: "TableSummary") -> str:
    """Breakdown, accounts and days; empty where nothing was answered."""
    if reading.coverage is None:
        return ""
    accounts, days, covered_days = reading.coverage
    rows = "rows without a breakdown" if reading.group_by is None else f"rows by {reading.group_by}"
    line = f"{rows}, of {counted(accounts, 'account')}, {days.from_date} to {days.to_date}"
    if covered_days >= accounts * days.days:
        return line
    return f"{line} ({covered_days:,} of {accounts * days.days:,} days of accounts are there)"
