"""What a table of costs comes to, from the table alone."""

from collections.abc import Mapping
from datetime import date
from os import PathLike
from typing import NamedTuple

from anyio.to_thread import run_sync

from spot_billing_async.errors import ConfigError
from spot_billing_async.models import GROUP_BY, GroupBy
from spot_billing_async.models.validation import checked_date
from spot_billing_async.table.slices import Coverage
from spot_billing_async.table.storage.invalidation import DaySum
from spot_billing_async.table.storage.location import checked_place
from spot_billing_async.table.storage.store import TableStore

_COLUMNS: dict[GroupBy | None, str] = {
    None: "query_account_id",
    "account": "query_account_id",
    "service": "service",
    "region": "region",
    "family": "family",
}


class Reading(NamedTuple):
    """What was read of a table.

    Attributes:
        group_by: the breakdown whose rows were added up.
        coverage: what of it was answered; None for nothing.
        sums: by name, day and currency, in that order.
    """

    group_by: GroupBy | None
    coverage: Coverage | None
    sums: list[DaySum]


async def day_sums(
    table: str | PathLike[str], by: GroupBy | None = None, since: date | None = None
) -> list[DaySum]:
    """The costs of a table by name, day and currency, in that order; nothing is sent.

    Args:
        table: as for `sync`.
        by: what the sums are named by. "account" can be told from any breakdown: taken is the one
            that was answered for most days of accounts; where several were for as many, the one
            without a breakdown, then "account", then by name. Others need a breakdown of their
            own. None takes the only breakdown that there is.
        since: first day, included; None for all. Rows that carry no day count as the last day of
            the window that they came with.

    Raises:
        ConfigError: there is no table, or it has not this breakdown, or several and `by` is None.
        TableError: it could not be read.
    """
    return (await read(table, by, since)).sums


async def read(table: str | PathLike[str], by: GroupBy | None, since: date | None) -> Reading:
    """As `day_sums`, with what it is that was added up."""
    if by is not None and by not in GROUP_BY:
        raise ConfigError(f"by: {by!r} is unknown; allowed: {', '.join(GROUP_BY)} or None")
    if since is not None:
        checked_date("since", since)
    return await run_sync(_read, checked_place(table), by, since)


def _read(table: str, by: GroupBy | None, since: date | None) -> Reading:
    store = TableStore.opened(table)
    if not store.is_there:
        raise ConfigError(f"table: there is none at {table!r}; allowed: one that sync made")
    coverage = store.coverage(since)
    answered = {name: each.covered_days for name, each in coverage.items()}
    there = {name: answered.get(name, 0) for name in store.breakdowns()}
    group_by = chosen_breakdown(by, there)
    sums = list(store.sums_by(_COLUMNS[by or group_by], group_by, since))
    return Reading(group_by, coverage.get(group_by), sums)


def chosen_breakdown(by: GroupBy | None, there: Mapping[GroupBy | None, int]) -> GroupBy | None:
    """The one breakdown whose rows are added up: each has all the money of the days it covers.

    Args:
        by: as for `day_sums`.
        there: the days that each breakdown covers, counted for each account.

    Raises:
        ConfigError: the table has none that fits, or several and it is not said which.
    """
    if by == "account" and there:
        return min(there, key=lambda name: (-there[name], _place(name)))
    if not there or (by is not None and by in there):
        return by
    if by is None and len(there) == 1:
        return next(iter(there))
    had = ", ".join(name or "none" for name in sorted(there, key=_place))
    names = ", ".join(sorted({"account", *filter(None, there)}))
    problem = (
        f"needed, as this table has several breakdowns ({had}), each with all the money"
        if by is None
        else f"{by!r} is no breakdown of this table, which has {had}"
    )
    raise ConfigError(f"by: {problem}; allowed: {names}")


def _place(name: GroupBy | None) -> tuple[bool, bool, str]:
    """Which of two breakdowns comes first: the plainer one."""
    return name is not None, name != "account", name or ""
