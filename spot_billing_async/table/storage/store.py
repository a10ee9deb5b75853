"""The two tables: costs, and the ledger beside them. It blocks: it is called from worker threads.

Both are partitioned by `group_by`: it has a handful of values, and whoever reads costs has to
choose one of them, as each breakdown holds all the money. Accounts or months would make thousands
of small files; each file's own bounds of account and date say well enough where a slice is, as
every commit is sorted by them.

The ledger is a table of its own beside the costs, at `<table>_ledger`: anything that reads Delta
can read it, and nothing that is done to the one (VACUUM, a glob over its files) meets the other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self

import msgspec
import pyarrow as pa

from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.export import ExportError
from spot_billing_async.export.arrow import DEFAULT_SCALE, batch_table, schema
from spot_billing_async.models import CostItem, GroupBy
from spot_billing_async.models.money import NO_CURRENCY
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.planning.window_sizing import Density, Limits, WindowSizer
from spot_billing_async.table.slices import Coverage, Entry, Key
from spot_billing_async.table.storage.delta import DeltaTable, TableConflictError
from spot_billing_async.table.storage.invalidation import DaySum, doubted
from spot_billing_async.table.storage.pair import opened_pair
from spot_billing_async.table.storage.predicates import (
    costs_touching,
    costs_within,
    day,
    days_from,
    grouped,
    joined_keys,
    ledger_within,
    of_any,
    overlaps,
    text,
)

_MOMENT = pa.timestamp("us", "UTC")
_AMOUNT = pa.decimal128(38, DEFAULT_SCALE)
_AGE_DAYS = "(arrow_cast(as_of, 'Int32') - arrow_cast(to_date, 'Int32'))"
_RATE_LIMIT = "spotBilling.rateLimit"
_PARTITIONS = ("group_by",)

COSTS = schema().append(pa.field("fetched_at", _MOMENT))
LEDGER = pa.schema(
    {
        "account_id": pa.string(),
        "from_date": pa.date32(),
        "to_date": pa.date32(),
        "group_by": pa.string(),
        "request_id": pa.string(),
        "rows": pa.int64(),
        "totals": pa.map_(pa.string(), _AMOUNT),
        "digest": pa.string(),
        "fetched_at": _MOMENT,
        "as_of": pa.date32(),
        "incomplete": pa.bool_(),
        "widest_days": pa.int32(),
        "borne_rows": pa.int64(),
    }
)


class Part(NamedTuple):
    """Slices that are committed together, and all their rows."""

    keys: list[Key]
    rows: list[pa.Table]


class TableStore:
    """The costs and their ledger, at `<table>` and `<table>_ledger`.

    Args:
        costs: the costs; None where the table is not made yet.
        ledger: what is known of them; None as well.
    """

    def __init__(self, costs: DeltaTable | None, ledger: DeltaTable | None) -> None:
        self._costs = costs
        self._ledger = ledger

    @classmethod
    def opened(cls, table: str, *, to_write: bool = False) -> Self:
        """What is there, and nothing is made.

        Args:
            table: the place, checked.
            to_write: whether it is to be made or written later.

        Raises:
            ConfigError: something else is at the place.
            TableError: it cannot be read (or written), or one of the two tables is gone.
        """
        return cls(*opened_pair(_places(table), (COSTS, LEDGER), to_write=to_write))

    @classmethod
    def made(cls, table: str) -> Self:
        """Both tables, made where they are not there.

        Raises:
            ConfigError, TableError: as `opened`.
        """
        cls.opened(table, to_write=True)
        costs, ledger = _places(table)
        return cls(
            DeltaTable.made(costs, COSTS, _PARTITIONS), DeltaTable.made(ledger, LEDGER, _PARTITIONS)
        )

    @property
    def is_there(self) -> bool:
        """Whether there is a table of costs."""
        return self._costs is not None

    def settled(
        self, group_by: GroupBy | None, window: DateWindow, mutable_days: int
    ) -> Iterator[Key]:
        """What of a range was answered at an age of `mutable_days`: ranges without a gap.

        They are put together while they are read, so years of days take little memory.
        """
        where = f"{overlaps(group_by, window)} AND {_AGE_DAYS} >= {mutable_days}"
        sql = (
            f"SELECT account_id, from_date, to_date FROM t WHERE {where} "  # noqa: S608  dates, numbers, a checked name
            "ORDER BY 1, 2, 3"
        )
        yield from self._joined(sql)

    def there(self, group_by: GroupBy | None, window: DateWindow) -> Iterator[Key]:
        """What of a range was answered at all: ranges without a gap, cut to it."""
        sql = (
            f"SELECT account_id, greatest(from_date, {day(window.from_date)}) AS from_date, "  # noqa: S608  as above
            f"least(to_date, {day(window.to_date)}) AS to_date "
            f"FROM t WHERE {overlaps(group_by, window)} ORDER BY 1, 2, 3"
        )
        yield from self._joined(sql)

    def _joined(self, sql: str) -> Iterator[Key]:
        rows = _rows(self._ledger, sql)
        keys = (Key(row["account_id"], row["from_date"], row["to_date"]) for row in rows)
        return joined_keys(keys)

    def unsettled(
        self, group_by: GroupBy | None, window: DateWindow, mutable_days: int
    ) -> Iterator[Entry]:
        """The entries of a range that were answered at a younger age than `mutable_days`."""
        where = f"{overlaps(group_by, window)} AND {_AGE_DAYS} < {mutable_days}"
        yield from self._entries(where)

    def widths(self, group_by: GroupBy | None) -> WindowSizer:
        """What the ledger tells of how much the server bears at once."""
        days = days_from("from_date")
        limits = ", ".join(
            f"first_value({name} ORDER BY fetched_at DESC) AS {name}" for name in Limits._fields
        )
        sql = (
            f"SELECT account_id, sum({days}) AS days, sum(rows) AS rows, "  # noqa: S608  as above
            f"sum(rows * rows / {days}) AS squares, {limits}, max(fetched_at) AS latest "
            f"FROM t WHERE {grouped(group_by)} GROUP BY account_id ORDER BY latest DESC"
        )
        densities: dict[str, Density] = {}
        remembered: dict[str, Limits] = {}
        for row in _rows(self._ledger, sql):
            densities[row["account_id"]] = Density(row["days"], row["rows"], row["squares"])
            remembered[row["account_id"]] = Limits(*(row[name] for name in Limits._fields))
        return WindowSizer(densities, remembered)

    def rate_limit(self) -> RateLimit | None:
        """What the server told of its rate limit at the last commit; None where it is not known."""
        noted = None if self._ledger is None else self._ledger.note(_RATE_LIMIT)
        if noted is None:
            return None
        requests, window_s = noted.split("/")
        return RateLimit(int(requests), float(window_s))

    def ledger_totals(
        self, accounts: Sequence[str], group_by: GroupBy | None, window: DateWindow
    ) -> Iterator[Mapping[str, Decimal]]:
        """The totals of each entry of a range, of some accounts."""
        wanted = set(accounts)
        sql = f"SELECT account_id, totals FROM t WHERE {overlaps(group_by, window)}"  # noqa: S608  as above
        for row in _rows(self._ledger, sql):
            if row["account_id"] in wanted:
                yield dict(row["totals"])

    def day_sums(
        self, account_id: str, group_by: GroupBy | None, window: DateWindow
    ) -> Iterator[DaySum]:
        """What the rows of an account come to, by day and currency."""
        where = f"{grouped(group_by)} AND {costs_within([account_id], window)}"
        yield from self._sums("query_account_id", where)

    def sums_by(
        self, column: str, group_by: GroupBy | None, since: date | None
    ) -> Iterator[DaySum]:
        """What the rows of a breakdown come to, by a column, day and currency."""
        recent = "" if since is None else f" AND coalesce(date, query_to) >= {day(since)}"
        yield from self._sums(column, grouped(group_by) + recent)

    def _sums(self, column: str, where: str) -> Iterator[DaySum]:
        sql = (
            f"SELECT {column} AS name, date, upper(currency) AS currency, sum(cost) AS total "  # noqa: S608  columns of ours, ids quoted
            f"FROM t WHERE {where} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        for row in _rows(self._costs, sql):
            yield DaySum(row["name"], row["date"], row["currency"] or NO_CURRENCY, row["total"])

    def breakdowns(self) -> set[GroupBy | None]:
        """The values of `group_by` that were answered, be it with no costs."""
        return {row["group_by"] for row in _rows(self._ledger, "SELECT DISTINCT group_by FROM t")}

    def coverage(self, since: date | None) -> dict[GroupBy | None, Coverage]:
        """What the ledger has of each breakdown, of days from `since` on."""
        recent = "" if since is None else f" WHERE to_date >= {day(since)}"
        first = "from_date" if since is None else f"greatest(from_date, {day(since)})"
        sql = (
            f"SELECT group_by, count(DISTINCT account_id) AS accounts, min({first}) AS first, "  # noqa: S608  a date
            f"max(to_date) AS last, sum({days_from(first)}) AS days FROM t{recent} GROUP BY 1"
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
        parts: Iterable[Part],
        entries: list[Entry],
        rate_limit: RateLimit | None,
    ) -> None:
        """Replace the rows of slices, then tell the ledger.

        A file is rewritten whole where a row of it is replaced. So slices that may change again are
        a part of their own: the files of closed days then stay.

        Killed in between, the rows are there and nobody knows of them: they are asked again, and
        replaced. Where another sync told the ledger of the same slices meanwhile, what it says is
        no longer what the costs are: then the ledger forgets them.

        Raises:
            TableConflictError: another sync changed one of them meanwhile.
            TableError: it could not be written.
        """
        assert self._costs is not None  # noqa: S101  made before
        assert self._ledger is not None  # noqa: S101  as above
        for part in parts:
            if part.keys:
                where = f"{grouped(group_by)} AND {of_any(part.keys, costs_touching)}"
                self._costs.replace(_sorted(pa.concat_tables(part.rows)), where)
        where = f"{grouped(group_by)} AND {of_any((e.key for e in entries), ledger_within)}"
        try:
            self._ledger.replace(_ledger_rows(entries), where, _noted(rate_limit))
        except TableConflictError:
            latest = DeltaTable.opened(self._ledger.uri, LEDGER)
            if latest is not None:
                latest.replace(LEDGER.empty_table(), where)
            raise

    def doubt(
        self,
        account_id: str,
        group_by: GroupBy | None,
        days: Sequence[DateWindow],
        sums: Iterable[DaySum],
    ) -> None:
        """See that the slices of some days are asked again, however old they are.

        Args:
            account_id: the account.
            group_by: the breakdown.
            days: those that are doubted.
            sums: what the table's rows come to by day, as `day_sums` has it.

        Raises:
            TableConflictError: another sync told the ledger of them meanwhile.
            TableError: it could not be read or written.
        """
        assert self._ledger is not None  # noqa: S101  made before
        span = DateWindow(min(each.from_date for each in days), max(each.to_date for each in days))
        where = f"{overlaps(group_by, span)} AND account_id = {text(account_id)}"
        entries = list(self._entries(where))
        if entries:
            self._ledger.replace(_ledger_rows(doubted(entries, days, sums)), where)

    def _entries(self, where: str) -> Iterator[Entry]:
        for row in _rows(self._ledger, f"SELECT * FROM t WHERE {where}"):  # noqa: S608  dates, numbers, ids quoted
            yield msgspec.convert(row | {"totals": dict(row["totals"])}, Entry)


def costs_rows(answer: Fetched[CostItem], fetched_at: datetime) -> pa.Table:
    """The rows of an answer, as the table has them.

    Raises:
        ExportError: an amount has more than 18 decimals or 20 digits before them; names it.
    """
    table = batch_table([answer], DEFAULT_SCALE)
    if table.schema.field("cost").type != _AMOUNT:
        raise ExportError(
            f"an amount needs more than the {DEFAULT_SCALE} decimals of the table's cost"
        )
    return table.append_column(
        COSTS.field("fetched_at"), pa.array([fetched_at] * table.num_rows, _MOMENT)
    )


def _noted(rate_limit: RateLimit | None) -> dict[str, str]:
    if rate_limit is None:
        return {}
    return {_RATE_LIMIT: f"{rate_limit.requests}/{rate_limit.window_s}"}


def _places(table: str) -> tuple[str, str]:
    place = table.rstrip("/") or "/"
    return place, f"{place}_ledger"


def _rows(table: DeltaTable | None, sql: str) -> Iterator[dict[str, Any]]:
    """The rows of a query as plain values; none where there is no table."""
    if table is not None:
        for batch in table.query(sql):
            yield from batch.to_pylist()


def _sorted(rows: pa.Table) -> pa.Table:
    """So that a file's bounds of account and date are narrow."""
    return rows.sort_by([("query_account_id", "ascending"), ("date", "ascending")])


def _ledger_rows(entries: Iterable[Entry]) -> pa.Table:
    rows = [
        msgspec.structs.asdict(entry) | {"totals": [*entry.totals.items()]} for entry in entries
    ]
    try:
        return pa.Table.from_pylist(rows, schema=LEDGER)
    except pa.ArrowInvalid as error:
        raise ExportError(f"a total does not fit the ledger's {_AMOUNT}: {error}") from error
