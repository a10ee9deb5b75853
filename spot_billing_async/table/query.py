"""Sums of a table's costs; no request is sent."""

from collections.abc import Mapping
from datetime import date
from os import PathLike
from typing import NamedTuple

from anyio.to_thread import run_sync

from spot_billing_async.errors import ConfigError
from spot_billing_async.models import GROUP_BY, GroupBy
from spot_billing_async.models.validation import checked_date
from spot_billing_async.table.ledger import Coverage
from spot_billing_async.table.report import DaySum
from spot_billing_async.table.storage.location import checked_location
from spot_billing_async.table.storage.store import TableStore

_COLUMNS: dict[GroupBy | None, str] = {
    None: "query_account_id",
    "account": "query_account_id",
    "service": "service",
    "region": "region",
    "family": "family",
}


class TableSummary(NamedTuple):
    """Sums of a table, and the data they cover.

    Attributes:
        group_by: the breakdown whose rows were summed.
        coverage: extent of its data; None for none.
        sums: sums in the order of name, day and currency.
    """

    group_by: GroupBy | None
    coverage: Coverage | None
    sums: list[DaySum]


async def day_sums(
    table: str | PathLike[str], by: GroupBy | None = None, since: date | None = None
) -> list[DaySum]:
    """Return the costs of a table by name, day and currency, in that order; send no request.

    Args:
        table: as for `sync`.
        by: dimension that names the sums. "account" is available from every breakdown: the one
            that covers most days is summed; of equal ones the one without a breakdown, then
            "account", then the first by name. Other dimensions need a breakdown of their own. None
            sums the only breakdown of the table.
        since: first day, inclusive; None for all. Rows without a date count as the last day of the
            window that they were requested with.

    Raises:
        ConfigError: the table does not exist, lacks this breakdown, or has several and `by`
            is None.
        TableError: the table could not be read.
    """
    return (await read_summary(table, by, since)).sums


async def read_summary(
    table: str | PathLike[str], by: GroupBy | None, since: date | None
) -> TableSummary:
    """Return the sums as `day_sums` does, with their breakdown and coverage."""
    if by is not None and by not in GROUP_BY:
        names = ", ".join(map(repr, GROUP_BY))
        raise ConfigError(f"by must be one of {names} or None, got {by!r}")
    if since is not None:
        checked_date("since", since)
    return await run_sync(_read_summary, checked_location(table), by, since)


def _read_summary(table: str, by: GroupBy | None, since: date | None) -> TableSummary:
    store = TableStore.open(table)
    if not store.exists:
        raise ConfigError(f"table must be an existing table that sync created, got {table!r}")
    coverage = store.coverage(since)
    covered_days = {name: each.covered_days for name, each in coverage.items()}
    # A breakdown without data since `since` is still one of the table's.
    days_by_breakdown = {name: covered_days.get(name, 0) for name in store.breakdowns()}
    group_by = chosen_breakdown(by, days_by_breakdown)
    sums = list(store.sums_by(_COLUMNS[by or group_by], group_by, since))
    return TableSummary(group_by, coverage.get(group_by), sums)


def chosen_breakdown(
    by: GroupBy | None, days_by_breakdown: Mapping[GroupBy | None, int]
) -> GroupBy | None:
    """Return the one breakdown to sum; each has all the costs of the days it covers.

    Args:
        by: as for `day_sums`.
        days_by_breakdown: days that each breakdown of the table covers, summed over the accounts.

    Raises:
        ConfigError: no breakdown of the table fits, or several do and `by` is None.
    """
    if by == "account" and days_by_breakdown:
        return min(days_by_breakdown, key=lambda name: (-days_by_breakdown[name], _order(name)))
    if not days_by_breakdown or (by is not None and by in days_by_breakdown):
        return by
    if by is None and len(days_by_breakdown) == 1:
        return next(iter(days_by_breakdown))
    allowed = ", ".join(map(repr, sorted({"account", *filter(None, days_by_breakdown)})))
    present = ", ".join(name or "none" for name in sorted(days_by_breakdown, key=_order))
    raise ConfigError(
        f"by must be one of {allowed}, got {by!r}: the table has the breakdowns {present}, each "
        "with all the costs"
    )


def _order(name: GroupBy | None) -> tuple[bool, bool, str]:
    """Return the sort key of a breakdown: none first, then "account", then by name."""
    return name is not None, name != "account", name or ""
