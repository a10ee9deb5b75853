"""What the ledger says of slices that reconciling doubts, so that they are asked again. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import msgspec

from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.slices import Entry

NO_CONTENT = ""
"""The digest of a slice whose rows are not those that were answered; no content has it."""


class DaySum(NamedTuple):
    """A sum of the table's rows; `day` is None for rows that carry none."""

    name: str | None
    day: date | None
    currency: str
    total: Decimal


def doubted(
    entries: Iterable[Entry], days: Sequence[DateWindow], sums: Iterable[DaySum]
) -> Iterator[Entry]:
    """The entries, those of some days so that they are asked again.

    Such a day is as if it had been answered when it was not over. Where its rows do not come to
    what was answered either, or where that cannot be told as rows carry no day, it has no known
    content, so that whatever is answered next takes their place.
    """
    table: dict[date | None, dict[str, Decimal]] = {}
    for each in sums:
        table.setdefault(each.day, {})[each.currency] = each.total
    for entry in entries:
        if not any(_overlap(entry, day) for day in days):
            yield entry
            continue
        changed = msgspec.structs.replace(entry, as_of=min(entry.as_of, entry.to_date))
        totals = table.get(entry.to_date, {})
        if None in table or entry.days > 1:  # nobody can tell what of the rows is this slice's
            changed = msgspec.structs.replace(changed, digest=NO_CONTENT)
        elif _amounts(totals) != _amounts(entry.totals):
            changed = msgspec.structs.replace(changed, totals=totals, digest=NO_CONTENT)
        yield changed


def _overlap(entry: Entry, days: DateWindow) -> bool:
    return days.from_date <= entry.to_date and entry.from_date <= days.to_date


def _amounts(totals: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Totals without those that are nothing."""
    return {currency: total for currency, total in totals.items() if total}
