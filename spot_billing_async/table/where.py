"""What selects rows of the costs and of the ledger, in SQL. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date

from spot_billing_async.models import GroupBy
from spot_billing_async.table.slices import Key
from spot_billing_async.windows import DateWindow


def joined(keys: Iterable[Key]) -> Iterator[Key]:
    """The same days in as few ranges as possible: of sorted keys, those that touch become one."""
    last: Key | None = None
    for key in keys:
        if last and last.account_id == key.account_id and (key.from_date - last.to_date).days <= 1:
            last = last._replace(to_date=max(last.to_date, key.to_date))
            continue
        if last:
            yield last
        last = key
    if last:
        yield last


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
    for account_id, *days in joined(sorted(keys)):
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
    first, last = day(days.from_date), day(days.to_date)
    return (
        f"({_one_of('query_account_id', accounts)} AND ((date >= {first} AND date <= {last}) OR "
        f"(date IS NULL AND query_from >= {first} AND query_to <= {last})))"
    )


def costs_touching(accounts: Sequence[str], days: DateWindow) -> str:
    """Rows without a day too that may be of these days: what is not replaced of them is due."""
    first, last = day(days.from_date), day(days.to_date)
    return (
        f"({_one_of('query_account_id', accounts)} AND ((date >= {first} AND date <= {last}) OR "
        f"(date IS NULL AND query_from <= {last} AND query_to >= {first})))"
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
