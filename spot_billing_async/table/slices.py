"""Splitting of responses into the slices of a table. Pure.

Rows carry their date, so a response for a window of any width is split into slices of one day each.
Days are the unit in which costs are compared, replaced and resumed, independent of the windows that
were requested. Where a row carries no date, the whole requested window is one slice.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Context, Decimal, DecimalException
from hashlib import sha256
from typing import NamedTuple

import msgspec

from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.errors import DecodeError, SpotBillingError
from spot_billing_async.export import ExportError
from spot_billing_async.models import CostItem
from spot_billing_async.models.money import plain, totals_by_currency
from spot_billing_async.models.windows import DateWindow, cut
from spot_billing_async.table.ledger import LedgerEntry, SliceKey

_ZERO = Decimal(0)
_WIDE = Context(prec=200)  # the default context would round amounts of more than 28 digits

_DIGITS, _DECIMALS = 20, 18
"""Digits of an amount before and after the decimal point, as decimal128(38, 18) holds them."""


class FetchedSlice(NamedTuple):
    """A fetched slice: its new ledger entry, and its rows."""

    entry: LedgerEntry
    items: Sequence[CostItem]


class SplitResponse(NamedTuple):
    """A response, split into slices.

    Attributes:
        slices: slices that the table can hold.
        rejected: days that it cannot hold, each with the reason.
    """

    slices: list[FetchedSlice]
    rejected: list[tuple[DateWindow, SpotBillingError]]


def has_undated_rows(items: Iterable[CostItem]) -> bool:
    """Return whether any row carries no date."""
    return any(item.date is None for item in items)


def split_response(
    key: SliceKey,
    fetched: Fetched[CostItem],
    entries: Sequence[LedgerEntry],
    *,
    fetched_at: datetime,
    as_of: date,
) -> SplitResponse:
    """Split a response into slices.

    Args:
        key: the account and the window that were requested.
        fetched: the response.
        entries: the ledger entries of the account that may be replaced.
        fetched_at: time of the response, UTC.
        as_of: the current day.

    Raises:
        DecodeError: a row has a date outside the requested window.
        ExportError: the window contains only a part of a slice whose rows carry no date.
    """
    window = key.window
    for item in fetched.items:
        if item.date is not None and not window.from_date <= item.date <= window.to_date:
            raise DecodeError(
                f"the response has a row of {item.date}, which was not requested", permanent=True
            )
    for entry in entries:
        # Its rows without a date cannot be attributed to the part that would be replaced.
        if entry.overlaps(window) and not entry.is_within(window):
            raise ExportError(
                f"the table has {entry.from_date} to {entry.to_date} of {entry.account_id} as one "
                f"slice of rows without a date; request windows that contain all of it"
            )
    split = SplitResponse([], [])
    for part, items in _parts(window, fetched.items, entries).items():
        try:
            entry = _entry(SliceKey(key.account_id, part), fetched, items, fetched_at, as_of)
        except (DecodeError, ExportError) as error:
            split.rejected.append((part, error))
        else:
            split.slices.append(FetchedSlice(entry, items))
    return split


def _parts(
    window: DateWindow, items: list[CostItem], entries: Iterable[LedgerEntry]
) -> dict[DateWindow, list[CostItem]]:
    """Return the rows of each slice: by day, or of the whole window if any row carries no date."""
    # Without rows, a window that the table has as one slice stays one: it was undated, now empty.
    was_one_slice = not items and any(entry.window == window for entry in entries)
    if was_one_slice or has_undated_rows(items):
        return {window: items}
    parts: dict[DateWindow, list[CostItem]] = {day: [] for day in cut(*window, "day")}
    for item in items:
        if item.date is not None:
            parts[DateWindow(item.date, item.date)].append(item)
    return parts


def _entry(
    key: SliceKey,
    fetched: Fetched[CostItem],
    items: Sequence[CostItem],
    fetched_at: datetime,
    as_of: date,
) -> LedgerEntry:
    """Return the ledger entry of a slice.

    Raises:
        DecodeError: a row is duplicated.
        ExportError: the table cannot hold an amount, or their sum, exactly.
    """
    identities: set[tuple[object, ...]] = set()
    for item in items:
        identity = _identity(item)
        # The API sums by these fields, so a second row is a mistake that would count twice.
        if identity in identities:
            name = item.service or item.region or item.family
            raise DecodeError(f"duplicate row in the response: {item.date}, {name}", permanent=True)
        identities.add(identity)
    costs = [item.cost for item in items]
    try:
        totals = totals_by_currency(costs, [item.currency for item in items])
    except DecimalException as error:
        raise ExportError("the amounts of a day cannot be added without rounding") from error
    for amount in (*costs, *totals.values()):
        exponent = amount.normalize(_WIDE).as_tuple().exponent  # trailing zeros do not count
        decimals = -exponent if isinstance(exponent, int) else _DECIMALS + 1  # NaN, infinity
        if decimals > _DECIMALS or amount.adjusted() >= _DIGITS:
            raise ExportError(
                f"an amount must have at most {_DIGITS} digits before the decimal point and "
                f"{_DECIMALS} after it, got {amount:.40}"
            )
    return LedgerEntry(
        account_id=key.account_id,
        from_date=key.window.from_date,
        to_date=key.window.to_date,
        group_by=fetched.query.group_by,
        request_id=fetched.request_id,
        rows=len(items),
        totals=totals,
        digest=content_digest(items),
        fetched_at=fetched_at,
        as_of=as_of,
        incomplete=key.window.to_date >= as_of,
    )


def content_digest(items: Iterable[CostItem]) -> str:
    """Return the SHA-256 of rows, independent of their order and of the notation of amounts.

    It is stored in the ledger: another digest of the same rows would make every slice 'changed'.
    """
    rows = sorted(
        # Zeros have one digest: `plain` alone would keep the sign of a negative one.
        msgspec.json.encode([*_identity(item), plain(item.cost or _ZERO)])
        for item in items
    )
    return sha256(b"\n".join(rows)).hexdigest()


def _identity(item: CostItem) -> tuple[object, ...]:
    """Return every field of a row but its amount."""
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
