"""What a table of costs comes to, from the table alone."""

from datetime import date

from anyio.to_thread import run_sync

from spot_billing_async.checks import checked_date
from spot_billing_async.errors import ConfigError
from spot_billing_async.models import GROUP_BY, GroupBy
from spot_billing_async.table.doubt import DaySum
from spot_billing_async.table.store import TableStore

_COLUMNS: dict[GroupBy | None, str] = {
    None: "query_account_id",
    "account": "query_account_id",
    "service": "service",
    "region": "region",
    "family": "family",
}


async def day_sums(
    table: str, by: GroupBy | None = None, since: date | None = None
) -> list[DaySum]:
    """The costs of a table by name, day and currency, in that order; nothing is sent.

    Args:
        table: as for `sync`.
        by: what the sums are named by. "account" can be told from any breakdown; others need one
            of their own. None takes the only breakdown that there is.
        since: first day, included; None for all. Rows that carry no day count as the last day of
            the window that they came with.

    Raises:
        ConfigError: there is no table, or it has not this breakdown.
        TableError: it could not be read.
    """
    if by is not None and by not in GROUP_BY:
        raise ConfigError(f"by: {by!r} is unknown; allowed: {', '.join(GROUP_BY)} or None")
    if since is not None:
        checked_date("since", since)
    return await run_sync(_read, table, by, since)


def _read(table: str, by: GroupBy | None, since: date | None) -> list[DaySum]:
    store = TableStore.opened(table)
    if not store.is_there:
        raise ConfigError(f"table: there is none at {table!r}; allowed: one that sync made")
    group_by = chosen_breakdown(by, store.breakdowns())
    return list(store.sums_by(_COLUMNS[by or group_by], group_by, since))


def chosen_breakdown(by: GroupBy | None, there: set[GroupBy | None]) -> GroupBy | None:
    """The one breakdown whose rows are added up: each has all the money.

    Raises:
        ConfigError: the table has none that fits, or several and it is not said which.
    """
    if not there or (by is not None and by in there):
        return by
    if by == "account" or (by is None and len(there) == 1):
        return min(there, key=str)
    names = ", ".join(sorted({"account", *filter(None, there)}))
    raise ConfigError(f"by: {by!r} is not one breakdown of this table; allowed: {names}")
