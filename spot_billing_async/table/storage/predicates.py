"""What selects rows of the costs and of the ledger, in SQL. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from operator import attrgetter

from spot_billing_async.models import GroupBy
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.planning.due import joined
from spot_billing_async.table.slices import Key


def joined_keys(keys: Iterable[Key]) -> Iterator[Key]:
    """The same days in as few ranges as possible, of keys that are sorted by account."""
    for account_id, mine in groupby(keys, attrgetter("account_id")):
        yield from (Key(account_id, *window) for window in joined(key.window for key in mine))


def grouped(group_by: GroupBy | None) -> str:
    """What selects a breakdown."""
    return "group_by IS NULL" if group_by is None else f"group_by = {text(group_by)}"


def overlaps(group_by: GroupBy | None, window: DateWindow) -> str:
    """What selects the slices of a breakdown that have a day of a window."""
    return (
        f"{grouped(group_by)} AND from_date <= {day(window.to_date)} "
        f"AND to_date >= {day(window.from_date)}"
    )


def of_any(keys: Iterable[Key], spelled: Callable[[Sequence[str], DateWindow], str]) -> str:
    """What selects the rows of slices.

    A clause takes deltalake time, so days that touch are one range, and accounts of which the same
    range is meant are one list.
    """
    accounts: dict[DateWindow, list[str]] = {}
    for account_id, *days in joined_keys(sorted(keys)):
        accounts.setdefault(DateWindow(*days), []).append(account_id)
    return "(" + " OR ".join(spelled(mine, days) for days, mine in accounts.items()) + ")"


def ledger_within(accounts: Sequence[str], days: DateWindow) -> str:
    """What selects the entries of slices."""
    return (
        f"({_one_of('account_id', accounts)} AND from_date >= {day(days.from_date)} "
        f"AND to_date <= {day(days.to_date)})"
    )


def costs_within(accounts: Sequence[str], days: DateWindow) -> str:
    """What selects the rows of days; rows without one belong to all days of their window."""
    return _costs(accounts, days, first="query_from", last="query_to")


def costs_touching(accounts: Sequence[str], days: DateWindow) -> str:
    """Rows without a day too that may be of these days: what is not replaced of them is due."""
    return _costs(accounts, days, first="query_to", last="query_from")


def _costs(accounts: Sequence[str], days: DateWindow, *, first: str, last: str) -> str:
    """The rows of days, and of those without a day the ones with two columns within the days."""
    begin, end = day(days.from_date), day(days.to_date)
    return (
        f"({_one_of('query_account_id', accounts)} AND ((date >= {begin} AND date <= {end}) OR "
        f"(date IS NULL AND {first} >= {begin} AND {last} <= {end})))"
    )


def _one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(map(text, values))})"


def text(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def days_from(first: str) -> str:
    """How many days a slice has from a day on."""
    return f"(arrow_cast(to_date, 'Int64') - arrow_cast({first}, 'Int64') + 1)"


def day(value: date) -> str:
    """A day as SQL has it."""
    return f"DATE '{value.isoformat()}'"
