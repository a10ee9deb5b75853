"""Costs by day as a ranking with a sparkline for each name. Pure functions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from spot_billing_async.cli.output import Record
from spot_billing_async.models.money import exact_sum, plain

if TYPE_CHECKING:
    from spot_billing_async.table import DaySum

_BARS = "▁▂▃▄▅▆▇█"
_MAX_BARS = 60
_ZERO = Decimal(0)


def ranked_totals(sums: Iterable["DaySum"]) -> Iterator[Record]:
    """Yield a record for each name and currency, highest cost first within a currency."""
    by_name: dict[tuple[str, str], list[DaySum]] = {}
    for each in sums:
        by_name.setdefault((each.currency, each.name or "(none)"), []).append(each)
    # All sparklines cover the same range of days, so that they can be compared.
    days = [each.day for group in by_name.values() for each in group if each.day is not None]
    totals = {key: exact_sum(each.total for each in group) for key, group in by_name.items()}
    for key in sorted(by_name, key=lambda key: (key[0], -totals[key], key[1])):
        costs = {each.day: each.total for each in by_name[key] if each.day is not None}
        yield {
            "name": key[1],
            "cost": plain(totals[key]),
            "currency": key[0],
            "days": len(costs),
            "by day": sparkline(mean_per_bar(costs, min(days), max(days))) if costs else "",
        }


def mean_per_bar(costs: Mapping[date, Decimal], first: date, last: date) -> list[Decimal]:
    """Return the mean cost a day for each bar; at most 60 bars share the days of the range.

    Args:
        costs: costs by day; a day without an entry counts as zero.
        first: first day of the range, included.
        last: last day of the range, included.
    """
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    days_per_bar = -(-len(days) // _MAX_BARS)  # rounded up
    spans = [days[start : start + days_per_bar] for start in range(0, len(days), days_per_bar)]
    return [exact_sum(costs.get(day, _ZERO) for day in span) / len(span) for span in spans]


def sparkline(amounts: Sequence[Decimal]) -> str:
    """Return a bar for each amount; the scale always includes zero."""
    lowest, highest = min(_ZERO, *amounts), max(_ZERO, *amounts)
    if lowest == highest:
        return _BARS[0] * len(amounts)
    steps = len(_BARS) - 1
    return "".join(_BARS[int((amount - lowest) * steps / (highest - lowest))] for amount in amounts)
