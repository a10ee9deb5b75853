"""Output of `costs sync` and `costs show` as lines and table records. Pure functions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from spot_billing_async import Failed, NotFoundError
from spot_billing_async.cli.output import Record, format_totals, pluralize
from spot_billing_async.errors import RequestLimitReachedError
from spot_billing_async.models.money import plain, totals_by_currency

if TYPE_CHECKING:
    from spot_billing_async.table import Change, Difference, SyncPlan, SyncReport
    from spot_billing_async.table.query import TableSummary

T = TypeVar("T")

CHANGE_COLUMNS = ("account", "days", "currency", "old", "new", "difference")
DIFFERENCE_COLUMNS = ("account", "days", "currency", "table", "api")
TOTAL_COLUMNS = ("name", "cost", "currency", "days")

_MAX_FAILURES = 5
_MAX_RECORDS = 20
_ACCOUNTS_HINT = " (run 'spot-billing accounts list' to see the accounts)"


def plan_line(plan: "SyncPlan") -> str:
    """Return the requests that a sync needs, and the least time that the rate limit allows."""
    bound = "at least " if plan.is_lower_bound else ""
    line = (
        f"{bound}{pluralize(plan.requests, 'request')} for "
        f"{pluralize(plan.due_days, 'account-day')}; "
        f"{plan.skipped_days:,} already in the table"
    )
    if plan.rate_limit is None or plan.least_s is None:
        return f"{line}; rate limit not known yet"
    limit, window_s = plan.rate_limit
    return (
        f"{line}; at least {plan.least_s:g} s at {pluralize(limit, 'request')} per {window_s:g} s"
    )


def report_line(report: "SyncReport") -> str:
    """Return the result of a sync: account-days by state, requests, rows and totals."""
    counts = {
        "already in the table": report.skipped_days,
        "new": report.new_days,
        "restated": report.changed_days,
        "unchanged": report.unchanged_days,
        "failed": report.failed_days,
        "not started": report.not_started_days,
    }
    states = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    so_far = "so far " if report.failed_days or report.not_started_days else ""
    return (
        f"{pluralize(report.planned_days, 'account-day')}: {states}; "
        f"{pluralize(report.requests, 'request')}, {pluralize(report.rows_written, 'row')} "
        f"written; total {so_far}{format_totals(report.totals)} in {report.elapsed_s:.1f} s"
    )


def reconciled_line(report: "SyncReport", accounts: int) -> str | None:
    """Return the result of reconciling some accounts; None if no account was compared.

    Accounts that were not compared are listed by `missing_lines`.
    """
    compared = accounts - len({failure.query.account_id for failure in report.unreconciled})
    if not compared:
        return None
    differing = len({difference.account_id for difference in report.differences})
    result = f"{differing:,} with differences" if differing else "no differences"
    return f"{pluralize(compared, 'account')} reconciled, {result}"


def missing_lines(report: "SyncReport") -> Iterator[str]:
    """Yield the missing days and the accounts not reconciled; the first five failures of each."""
    yield from _failure_lines("missing", report.failures)
    if report.not_started_days:
        days = pluralize(report.not_started_days, "account-day")
        yield f"not started: {days}; run the command again to continue"
    over_limit, others = set(), []
    for failure in report.unreconciled:
        if isinstance(failure.error, RequestLimitReachedError):
            over_limit.add(failure.query.account_id)
        else:
            others.append(failure)
    yield from _failure_lines("not reconciled", others)
    if over_limit:
        yield f"not reconciled: {pluralize(len(over_limit), 'account')}; --max-requests is used up"


def coverage_line(summary: "TableSummary", since: date | None) -> str:
    """Return the totals of a table, and the breakdown, accounts and days that they cover."""
    coverage = _describe_coverage(summary)
    if summary.sums:
        totals = totals_by_currency(
            [each.total for each in summary.sums], [each.currency for each in summary.sums]
        )
        return f"total {format_totals(totals)}; {coverage}"
    if since is not None:
        return f"no rows since {since}" + (f"; {coverage}" if coverage else "")
    return f"no rows; {coverage}" if coverage else "the table is empty"


def first_records(
    values: Sequence[T], to_records: Callable[[Iterable[T]], Iterable[Record]]
) -> tuple[list[Record], str | None]:
    """Return the records of the first 20 values, and a line that counts the rest, if any."""
    rest = len(values) - _MAX_RECORDS
    return list(to_records(values[:_MAX_RECORDS])), f"… and {rest:,} more" if rest > 0 else None


def change_records(changes: Iterable["Change"]) -> Iterator[Record]:
    """Yield a record for each restated range of days."""
    for change in changes:
        yield {
            "account": change.account_id,
            "days": _day_range(change),
            "currency": change.currency,
            "old": plain(change.old_total),
            "new": plain(change.new_total),
            "difference": plain(change.difference),
        }


def difference_records(differences: Iterable["Difference"]) -> Iterator[Record]:
    """Yield a record for each difference between the table and the API."""
    for difference in differences:
        yield {
            "account": difference.account_id,
            "days": _day_range(difference),
            "currency": difference.currency,
            "table": plain(difference.table_total),
            "api": plain(difference.api_total),
        }


def _failure_lines(label: str, failures: Sequence[Failed]) -> Iterator[str]:
    for failure in failures[:_MAX_FAILURES]:
        query, error = failure.query, failure.error
        hint = _ACCOUNTS_HINT if isinstance(error, NotFoundError) else ""
        yield (
            f"{label}: {query.account_id} {query.from_date} to {query.to_date}: "
            f"{type(error).__name__}: {error}{hint}"
        )
    if len(failures) > _MAX_FAILURES:
        yield f"{label}: {len(failures) - _MAX_FAILURES:,} more"


def _day_range(record: "Change | Difference") -> str:
    if record.from_date == record.to_date:
        return record.from_date.isoformat()
    return f"{record.from_date} to {record.to_date}"


def _describe_coverage(summary: "TableSummary") -> str:
    """Return breakdown, accounts and days; '' if the table covers no day."""
    if summary.coverage is None:
        return ""
    accounts, days, covered_days = summary.coverage
    breakdown = "no breakdown" if summary.group_by is None else f"by {summary.group_by}"
    line = f"{breakdown}, {pluralize(accounts, 'account')}, {days.from_date} to {days.to_date}"
    if covered_days >= accounts * days.days:
        return line
    return f"{line} (only {covered_days:,} of {accounts * days.days:,} account-days present)"
