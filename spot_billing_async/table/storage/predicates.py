"""SQL predicates that select rows of the costs and of the ledger. Pure.

deltalake takes predicates as text without bound values, so all values become literals here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from operator import attrgetter

from spot_billing_async.models import GroupBy
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.ledger import SliceKey
from spot_billing_async.table.planning.due import merged_windows


def merged_keys(keys: Iterable[SliceKey]) -> Iterator[SliceKey]:
    """Merge adjacent and overlapping windows; the keys must be sorted by account."""
    for account_id, group in groupby(keys, attrgetter("account_id")):
        for window in merged_windows(key.window for key in group):
            yield SliceKey(account_id, window)


def in_breakdown(group_by: GroupBy | None) -> str:
    """Return the predicate for rows of a breakdown, in both tables."""
    return "group_by IS NULL" if group_by is None else f"group_by = {sql_text(group_by)}"


def ledger_overlapping(group_by: GroupBy | None, window: DateWindow) -> str:
    """Return the predicate for ledger entries of a breakdown that share a day with a window."""
    return (
        f"{in_breakdown(group_by)} AND from_date <= {sql_date(window.to_date)} "
        f"AND to_date >= {sql_date(window.from_date)}"
    )


def any_of(keys: Iterable[SliceKey], predicate: Callable[[Sequence[str], DateWindow], str]) -> str:
    """Return the predicate for rows of any of these slices.

    Each clause costs deltalake time, so adjacent days are merged into one range, and accounts with
    the same range into one list.
    """
    accounts: dict[DateWindow, list[str]] = {}
    for account_id, window in merged_keys(sorted(keys)):
        accounts.setdefault(window, []).append(account_id)
    return "(" + " OR ".join(predicate(ids, window) for window, ids in accounts.items()) + ")"


def ledger_within(accounts: Sequence[str], window: DateWindow) -> str:
    """Return the predicate for ledger entries that lie within a window."""
    return (
        f"({_one_of('account_id', accounts)} AND from_date >= {sql_date(window.from_date)} "
        f"AND to_date <= {sql_date(window.to_date)})"
    )


def costs_within(accounts: Sequence[str], window: DateWindow) -> str:
    """Return the predicate for costs of a window; of undated rows, those requested within it."""
    return _costs(accounts, window, first="query_from", last="query_to")


def costs_touching(accounts: Sequence[str], window: DateWindow) -> str:
    """Return the predicate for costs of a window, with all undated rows that may belong to it.

    An undated row may have been requested with a window that only overlaps this one. Days that lose
    rows in this way are due, so they are requested again.
    """
    return _costs(accounts, window, first="query_to", last="query_from")


def _costs(accounts: Sequence[str], window: DateWindow, *, first: str, last: str) -> str:
    begin, end = sql_date(window.from_date), sql_date(window.to_date)
    return (
        f"({_one_of('query_account_id', accounts)} AND ((date >= {begin} AND date <= {end}) OR "
        f"(date IS NULL AND {first} >= {begin} AND {last} <= {end})))"
    )


def _one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(map(sql_text, values))})"


def sql_text(value: str) -> str:
    """Return a string as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_date(value: date) -> str:
    """Return a day as an SQL literal."""
    return f"DATE '{value.isoformat()}'"


def sql_days_from(first: str) -> str:
    """Return the SQL expression for the number of days from `first` to the end of a slice."""
    # Cast, as the difference of two dates is an interval, which has no sum.
    return f"(arrow_cast(to_date, 'Int64') - arrow_cast({first}, 'Int64') + 1)"
