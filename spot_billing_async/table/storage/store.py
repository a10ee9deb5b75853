"""The two tables: costs, and the ledger beside them. It blocks: it is called from worker threads.

Both are partitioned by `group_by`: it has few values, and every reader has to choose one of them,
as each breakdown has all the costs. Partitions by account or month would make thousands of small
files. Instead every commit is sorted by account and date, so that readers can skip files by the
minimum and maximum that Delta keeps of each.

The ledger is a table of its own at `<table>_ledger`: every Delta reader can read it, and operations
on the costs (VACUUM, a glob over the files) do not affect it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, Self

import pyarrow as pa

from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.models import GroupBy
from spot_billing_async.models.money import NO_CURRENCY, merge_totals
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.ledger import Coverage, LedgerEntry, SliceKey
from spot_billing_async.table.planning.window_sizing import (
    RememberedLimits,
    RowStats,
    WindowSizer,
)
from spot_billing_async.table.report import DaySum
from spot_billing_async.table.storage.delta import DeltaTable, TableConflictError
from spot_billing_async.table.storage.invalidation import invalidated
from spot_billing_async.table.storage.pair import open_pair
from spot_billing_async.table.storage.predicates import (
    any_of,
    costs_touching,
    costs_within,
    in_breakdown,
    ledger_overlapping,
    ledger_within,
    merged_keys,
    sql_date,
    sql_days_from,
    sql_text,
)
from spot_billing_async.table.storage.schemas import COSTS, LEDGER, ledger_entry, ledger_rows

# The age at which a slice was fetched. Cast, as a difference of dates is an interval.
_AGE_DAYS = "(arrow_cast(as_of, 'Int32') - arrow_cast(to_date, 'Int32'))"
_RATE_LIMIT = "spotBilling.rateLimit"
_PARTITIONS = ("group_by",)


class Replacement(NamedTuple):
    """Slices to replace in one commit, and all their new rows."""

    keys: list[SliceKey]
    rows: list[pa.Table]


class TableStore:
    """The costs and their ledger, at `<table>` and `<table>_ledger`.

    Args:
        costs: the costs; None if they do not exist.
        ledger: the ledger; None if it does not exist.
    """

    def __init__(self, costs: DeltaTable | None, ledger: DeltaTable | None) -> None:
        self._costs = costs
        self._ledger = ledger

    @classmethod
    def open(cls, table: str, *, to_write: bool = False) -> Self:
        """Open what exists; create nothing.

        Args:
            table: the location, checked.
            to_write: whether it must be writable too.

        Raises:
            ConfigError: the location holds something else.
            TableError: it cannot be read (or written), or one of the two tables is missing.
        """
        return cls(*open_pair(_locations(table), (COSTS, LEDGER), to_write=to_write))

    @classmethod
    def open_or_create(cls, table: str) -> Self:
        """Open both tables; create those that do not exist.

        Raises:
            ConfigError, TableError: as `open`.
        """
        cls.open(table, to_write=True)
        costs, ledger = _locations(table)
        return cls(
            DeltaTable.open_or_create(costs, COSTS, _PARTITIONS),
            DeltaTable.open_or_create(ledger, LEDGER, _PARTITIONS),
        )

    @property
    def exists(self) -> bool:
        """True if there is a table of costs."""
        return self._costs is not None

    def settled_slices(
        self, group_by: GroupBy | None, window: DateWindow, mutable_days: int
    ) -> Iterator[SliceKey]:
        """Yield the slices that were fetched at an age of `mutable_days`, adjacent ones merged."""
        return self._keys(
            "from_date",
            "to_date",
            f"{ledger_overlapping(group_by, window)} AND {_AGE_DAYS} >= {mutable_days}",
        )

    def fetched_slices(self, group_by: GroupBy | None, window: DateWindow) -> Iterator[SliceKey]:
        """Yield the slices that were fetched at all, cut to the window, adjacent ones merged."""
        return self._keys(
            f"greatest(from_date, {sql_date(window.from_date)})",
            f"least(to_date, {sql_date(window.to_date)})",
            ledger_overlapping(group_by, window),
        )

    def _keys(self, first: str, last: str, where: str) -> Iterator[SliceKey]:
        sql = (
            f"SELECT account_id, {first} AS first, {last} AS last "  # noqa: S608  dates, numbers, a checked name
            f"FROM t WHERE {where} ORDER BY 1, 2, 3"
        )
        # Merged while they are read: years of days take little memory.
        return merged_keys(
            SliceKey(row["account_id"], DateWindow(row["first"], row["last"]))
            for row in _rows(self._ledger, sql)
        )

    def unsettled_entries(
        self,
        accounts: Iterable[str],
        group_by: GroupBy | None,
        window: DateWindow,
        mutable_days: int,
    ) -> Iterator[LedgerEntry]:
        """Yield the entries of slices that were fetched at a younger age than `mutable_days`."""
        wanted = set(accounts)
        where = f"{ledger_overlapping(group_by, window)} AND {_AGE_DAYS} < {mutable_days}"
        return (entry for entry in self._entries(where) if entry.account_id in wanted)

    def window_sizer(self, group_by: GroupBy | None) -> WindowSizer:
        """Return a window sizer that knows what the ledger remembers of the server's limits."""
        days = sql_days_from("from_date")
        limits = ", ".join(
            f"first_value({name} ORDER BY fetched_at DESC) AS {name}"
            for name in RememberedLimits._fields
        )
        sql = (
            f"SELECT account_id, sum({days}) AS days, sum(rows) AS rows, "  # noqa: S608  as above
            f"sum(rows * rows / {days}) AS squares, {limits}, max(fetched_at) AS latest "
            f"FROM t WHERE {in_breakdown(group_by)} GROUP BY account_id ORDER BY latest DESC"
        )
        stats: dict[str, RowStats] = {}
        remembered: dict[str, RememberedLimits] = {}
        for row in _rows(self._ledger, sql):
            account_id = row["account_id"]
            stats[account_id] = RowStats(row["days"], row["rows"], row["squares"])
            remembered[account_id] = RememberedLimits(row["widest_days"], row["borne_rows"])
        return WindowSizer(stats, remembered)

    def rate_limit(self) -> RateLimit | None:
        """Return the rate limit that the last commit of a sync stored; None if unknown."""
        stored = None if self._ledger is None else self._ledger.commit_metadata(_RATE_LIMIT)
        if stored is None:
            return None
        requests, window_s = stored.split("/")
        return RateLimit(int(requests), float(window_s))

    def totals(
        self, accounts: Iterable[str], group_by: GroupBy | None, window: DateWindow
    ) -> dict[str, Decimal]:
        """Return the sum of the ledger's totals in a window, by currency."""
        wanted = set(accounts)
        sql = f"SELECT account_id, totals FROM t WHERE {ledger_overlapping(group_by, window)}"  # noqa: S608  as above
        totals: dict[str, Decimal] = {}
        for row in _rows(self._ledger, sql):
            if row["account_id"] in wanted:
                totals = merge_totals(totals, dict(row["totals"]))
        return totals

    def day_sums(self, key: SliceKey, group_by: GroupBy | None) -> Iterator[DaySum]:
        """Yield the sums of one account's rows in a window, by day and currency."""
        where = f"{in_breakdown(group_by)} AND {costs_within([key.account_id], key.window)}"
        return self._sums("query_account_id", where)

    def sums_by(
        self, column: str, group_by: GroupBy | None, since: date | None
    ) -> Iterator[DaySum]:
        """Yield the sums of a breakdown's rows, by a column, day and currency."""
        recent = "" if since is None else f" AND coalesce(date, query_to) >= {sql_date(since)}"
        return self._sums(column, in_breakdown(group_by) + recent)

    def _sums(self, column: str, where: str) -> Iterator[DaySum]:
        sql = (
            f"SELECT {column} AS name, date, upper(currency) AS currency, sum(cost) AS total "  # noqa: S608  columns of ours, ids quoted
            f"FROM t WHERE {where} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        for row in _rows(self._costs, sql):
            yield DaySum(row["name"], row["date"], row["currency"] or NO_CURRENCY, row["total"])

    def breakdowns(self) -> set[GroupBy | None]:
        """Return the breakdowns that were fetched, including those without any costs."""
        return {row["group_by"] for row in _rows(self._ledger, "SELECT DISTINCT group_by FROM t")}

    def coverage(self, since: date | None) -> dict[GroupBy | None, Coverage]:
        """Return the coverage of each breakdown, of days from `since` on; None for all days."""
        recent = "" if since is None else f" WHERE to_date >= {sql_date(since)}"
        first = "from_date" if since is None else f"greatest(from_date, {sql_date(since)})"
        sql = (
            f"SELECT group_by, count(DISTINCT account_id) AS accounts, min({first}) AS first, "  # noqa: S608  a date
            f"max(to_date) AS last, sum({sql_days_from(first)}) AS days FROM t{recent} GROUP BY 1"
        )
        return {
            row["group_by"]: Coverage(
                row["accounts"], DateWindow(row["first"], row["last"]), row["days"]
            )
            for row in _rows(self._ledger, sql)
        }

    def commit(
        self,
        group_by: GroupBy | None,
        parts: Iterable[Replacement],
        entries: list[LedgerEntry],
        rate_limit: RateLimit | None,
    ) -> None:
        """Replace the rows of slices in the costs, then their entries in the ledger.

        Delta rewrites a whole file to replace one of its rows. Slices that may change again are
        therefore a part, and so a file, of their own: the files of closed days stay.

        If the process is killed between the two commits, the rows are there without entries: their
        days are due, so the next sync requests and replaces them. If another sync committed entries
        of the same slices meanwhile, they may not describe these rows, and are removed.

        Raises:
            TableConflictError: another sync changed one of the slices meanwhile.
            TableError: the table could not be written.
        """
        assert self._costs is not None  # noqa: S101  `open_or_create` came before
        assert self._ledger is not None  # noqa: S101  as above
        for part in parts:
            if part.keys:
                where = f"{in_breakdown(group_by)} AND {any_of(part.keys, costs_touching)}"
                # Sorted, so that the range of accounts and dates in each file is narrow.
                order = [("query_account_id", "ascending"), ("date", "ascending")]
                self._costs.replace(pa.concat_tables(part.rows).sort_by(order), where)
        keys = (entry.key for entry in entries)
        where = f"{in_breakdown(group_by)} AND {any_of(keys, ledger_within)}"
        metadata = {}
        if rate_limit is not None:
            metadata[_RATE_LIMIT] = f"{rate_limit.requests}/{rate_limit.window_s}"
        try:
            self._ledger.replace(ledger_rows(entries), where, metadata)
        except TableConflictError:
            latest = DeltaTable.open(self._ledger.uri, LEDGER)
            # Opened anew: this handle would report the same conflict again.
            if latest is not None:
                latest.replace(LEDGER.empty_table(), where)
            raise

    def invalidate(
        self,
        account_id: str,
        group_by: GroupBy | None,
        days: Sequence[DateWindow],
        sums: Iterable[DaySum],
    ) -> None:
        """Invalidate slices, so that the next sync requests them again, however old they are.

        Args:
            account_id: the account.
            group_by: the breakdown.
            days: windows whose slices are invalidated.
            sums: sums of the table's rows as `day_sums` yields them.

        Raises:
            TableConflictError: another sync changed their entries meanwhile.
            TableError: the ledger could not be read or written.
        """
        assert self._ledger is not None  # noqa: S101  `open_or_create` came before
        span = DateWindow(min(each.from_date for each in days), max(each.to_date for each in days))
        where = f"{ledger_overlapping(group_by, span)} AND account_id = {sql_text(account_id)}"
        entries = list(self._entries(where))
        if entries:
            self._ledger.replace(ledger_rows(invalidated(entries, days, sums)), where)

    def _entries(self, where: str) -> Iterator[LedgerEntry]:
        return map(ledger_entry, _rows(self._ledger, f"SELECT * FROM t WHERE {where}"))  # noqa: S608  dates, numbers, ids quoted


def _locations(table: str) -> tuple[str, str]:
    location = table.rstrip("/") or "/"
    return location, f"{location}_ledger"


def _rows(table: DeltaTable | None, sql: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query; none if the table does not exist."""
    if table is not None:
        for batch in table.query(sql):
            yield from batch.to_pylist()
