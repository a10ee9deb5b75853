"""What a table is made of: slices of rows, and what the ledger knows of each. Pure.

Rows carry their day, so an answer of any width falls apart into slices of a day each: that is the
grain in which costs are compared, replaced and resumed, whatever was asked. Where rows carry no
day, the whole window that was asked is one slice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, DecimalException
from hashlib import sha256
from typing import NamedTuple

import msgspec

from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.errors import DecodeError, SpotBillingError
from spot_billing_async.export import ExportError
from spot_billing_async.models import CostItem, CostQuery, GroupBy
from spot_billing_async.models.money import totals_by_currency
from spot_billing_async.models.windows import DateWindow

_DAY = timedelta(days=1)


_WIDE = Context(prec=200)


_DIGITS, _DECIMALS = 20, 18
"""Of an amount, before and after the point: those of decimal128(38, 18)."""


class Key(NamedTuple):
    """Which slice of a breakdown: an account's days, both ends included."""

    account_id: str
    from_date: date
    to_date: date

    @property
    def window(self) -> DateWindow:
        """Its days."""
        return DateWindow(self.from_date, self.to_date)


def by_account(keys: Iterable[Key], accounts: Iterable[str]) -> dict[str, list[DateWindow]]:
    """The windows of some accounts, of each in the order of the keys; none is an empty list."""
    windows: dict[str, list[DateWindow]] = {account_id: [] for account_id in accounts}
    for key in keys:
        if key.account_id in windows:
            windows[key.account_id].append(key.window)
    return windows


class Coverage(NamedTuple):
    """What the ledger has of a breakdown.

    Attributes:
        accounts: how many were answered.
        days: from the first day that was answered to the last.
        covered_days: days that were answered, counted for each account.
    """

    accounts: int
    days: DateWindow
    covered_days: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger: what is known of a slice.

    Attributes:
        account_id: the account that was asked about.
        from_date: first day of the slice.
        to_date: its last day; the same day, but for rows that carry none.
        group_by: the breakdown; None for none.
        request_id: of the request that answered it last; None where the server gave none.
        rows: rows of the slice; 0 is an answer too.
        totals: their exact sum by currency code; "XXX" for none.
        digest: SHA-256 of the content, whatever the order of its rows.
        fetched_at: when it was answered last, UTC.
        as_of: the day that was 'today' then; the slice's last day, where reconciling doubts it.
        incomplete: the slice's last day was not over then.
        widest_days: days that a request about the account may ask for; None for any.
        borne_rows: rows that an answer had when more were too many; None where none were.
    """

    account_id: str
    from_date: date
    to_date: date
    group_by: GroupBy | None
    request_id: str | None
    rows: int
    totals: Mapping[str, Decimal]
    digest: str
    fetched_at: datetime
    as_of: date
    incomplete: bool
    widest_days: int | None = None
    borne_rows: int | None = None

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.to_date - self.from_date).days + 1

    @property
    def rows_by_day(self) -> list[int]:
        """The rows of each day; where they carry none, all are taken for the first one's."""
        return [self.rows] + [0] * (self.days - 1)

    @property
    def key(self) -> Key:
        """Which slice it is."""
        return Key(self.account_id, self.from_date, self.to_date)


class Slice(NamedTuple):
    """A slice that was answered: what the ledger will say of it, and its rows."""

    entry: Entry
    answer: Fetched[CostItem]


class Cut(NamedTuple):
    """An answer, cut.

    Attributes:
        slices: those that can be kept.
        spoilt: days that cannot, and why.
    """

    slices: list[Slice]
    spoilt: list[tuple[DateWindow, SpotBillingError]]


def carries_no_day(items: Iterable[CostItem]) -> bool:
    """Whether some row does not say which day it belongs to."""
    return any(item.date is None for item in items)


def slices_of(
    answer: Fetched[CostItem],
    known: Callable[[str], Sequence[Entry]],
    *,
    fetched_at: datetime,
    as_of: date,
) -> Cut:
    """Cut an answer into slices.

    Args:
        answer: to a query with an account and both its ends.
        known: the entries of an account that may be replaced.
        fetched_at: when the answer came, UTC.
        as_of: the day that is 'today'.

    Raises:
        DecodeError: a row is of a day that was not asked for.
        ExportError: a slice would lie across one that the table has, which cannot be cut.
    """
    window = window_of(answer.query)
    _check_days(answer.items, window)
    account_id = account_of(answer.query)
    entries = known(account_id)
    if carries_no_day(answer.items) or _is_one_empty_slice(answer, window, entries):
        parts = {window: answer.items}
    else:
        parts = _by_day(answer.items, window)
    _check_overlap(window, entries)
    cut = Cut([], [])
    for days, items in parts.items():
        try:
            totals = _checked_totals(items)
        except (DecodeError, ExportError) as error:
            cut.spoilt.append((days, error))
            continue
        entry = Entry(
            account_id=account_id,
            from_date=days.from_date,
            to_date=days.to_date,
            group_by=answer.query.group_by,
            request_id=answer.request_id,
            rows=len(items),
            totals=totals,
            digest=digest_of(items),
            fetched_at=fetched_at,
            as_of=as_of,
            incomplete=days.to_date >= as_of,
        )
        cut.slices.append(Slice(entry, msgspec.structs.replace(answer, items=items)))
    return cut


def account_of(query: CostQuery) -> str:
    """The account that a query names."""
    assert query.account_id is not None  # noqa: S101  a sync's queries name theirs
    return query.account_id


def window_of(query: CostQuery) -> DateWindow:
    """The days that a query asks for."""
    assert query.from_date is not None  # noqa: S101  a sync's queries have both ends
    assert query.to_date is not None  # noqa: S101  as above
    return DateWindow(query.from_date, query.to_date)


def digest_of(items: Iterable[CostItem]) -> str:
    """SHA-256 of rows: the same whatever their order and however an amount is spelled."""
    rows = sorted(msgspec.json.encode([*_group(item), _plain(item.cost)]) for item in items)
    return sha256(b"\n".join(rows)).hexdigest()


def _group(item: CostItem) -> tuple[object, ...]:
    """What tells a row from the others: everything but its amount."""
    return (
        item.account_id,
        item.cloud_provider,
        item.service,
        item.region,
        item.family_id,
        item.family,
        item.date,
        item.currency,
    )


def _plain(cost: Decimal) -> str:
    return format(cost.normalize(_WIDE) if cost else Decimal(0), "f")


def _checked_totals(items: Sequence[CostItem]) -> dict[str, Decimal]:
    """What the rows of a slice come to.

    Raises:
        DecodeError: a row is there twice.
        ExportError: the table cannot hold an amount, or their sum, exactly.
    """
    met: set[tuple[object, ...]] = set()
    for item in items:
        group = _group(item)
        if group in met:
            raise DecodeError(
                f"a row is there twice: {item.date}, {item.service or item.region or item.family}",
                permanent=True,
            )
        met.add(group)
    costs = [item.cost for item in items]
    try:
        totals = totals_by_currency(costs, [item.currency for item in items]) if costs else {}
    except DecimalException as error:
        raise ExportError("the amounts of a day cannot be added without rounding") from error
    for amount in (*costs, *totals.values()):
        if not _fits(amount):
            raise ExportError(
                f"amount: {amount:.40} does not fit; allowed: {_DIGITS} digits before the point "
                f"and {_DECIMALS} after it"
            )
    return totals


def _fits(amount: Decimal) -> bool:
    """Whether the table holds an amount exactly; zeros at its end say nothing."""
    exponent = amount.normalize(_WIDE).as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_DECIMALS and amount.adjusted() < _DIGITS


def _check_days(items: Iterable[CostItem], window: DateWindow) -> None:
    for item in items:
        if item.date is not None and not window.from_date <= item.date <= window.to_date:
            raise DecodeError(f"a row is of {item.date}, which was not asked for", permanent=True)


def _is_one_empty_slice(
    answer: Fetched[CostItem], window: DateWindow, entries: Iterable[Entry]
) -> bool:
    """Whether nothing came where the table has the whole window as one slice."""
    return not answer.items and any((entry.from_date, entry.to_date) == window for entry in entries)


def _by_day(items: Iterable[CostItem], window: DateWindow) -> dict[DateWindow, list[CostItem]]:
    """The rows of each day of a window; a day without rows is there too."""
    days = (window.from_date + n * _DAY for n in range(window.days))
    cut: dict[DateWindow, list[CostItem]] = {DateWindow(day, day): [] for day in days}
    for item in items:
        if item.date is not None:
            cut[DateWindow(item.date, item.date)].append(item)
    return cut


def _check_overlap(window: DateWindow, entries: Iterable[Entry]) -> None:
    """Refuse what would replace a part of a slice: its rows without a day cannot be told apart."""
    for entry in entries:
        if entry.from_date == entry.to_date:
            continue  # a day is in one window or in none
        if entry.to_date < window.from_date or entry.from_date > window.to_date:
            continue
        if not (window.from_date <= entry.from_date and entry.to_date <= window.to_date):
            raise ExportError(
                f"the table has {entry.from_date} to {entry.to_date} of {entry.account_id} as one "
                f"slice of rows without a day; allowed: windows that hold it whole"
            )
