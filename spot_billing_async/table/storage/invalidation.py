"""Invalidation of ledger entries, so that the next sync requests their slices again. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.ledger import UNKNOWN_DIGEST, LedgerEntry
from spot_billing_async.table.report import DaySum


def invalidated(
    entries: Iterable[LedgerEntry], days: Sequence[DateWindow], sums: Iterable[DaySum]
) -> Iterator[LedgerEntry]:
    """Yield the entries; those of the given days are changed so that they are no longer settled.

    Such an entry is marked as fetched on the last day of its slice, when that was not over. If the
    table's rows do not add up to its totals, or this cannot be decided as rows carry no date, its
    digest becomes unknown, so that any response replaces the rows.
    """
    table_totals: dict[date | None, dict[str, Decimal]] = {}
    for each in sums:
        table_totals.setdefault(each.day, {})[each.currency] = each.total
    for entry in entries:
        if not any(map(entry.overlaps, days)):
            yield entry
            continue
        changed = msgspec.structs.replace(entry, as_of=min(entry.as_of, entry.to_date))
        totals = table_totals.get(entry.to_date, {})
        if None in table_totals or entry.window.days > 1:
            # Rows without a date: which of them belong to this slice is unknown.
            changed = msgspec.structs.replace(changed, digest=UNKNOWN_DIGEST)
        elif _nonzero(totals) != _nonzero(entry.totals):
            changed = msgspec.structs.replace(changed, totals=totals, digest=UNKNOWN_DIGEST)
        yield changed


def _nonzero(totals: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {currency: total for currency, total in totals.items() if total}
