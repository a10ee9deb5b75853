"""Sums by day as a ranking with a line of bars each. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from spot_billing_async.cli.output import Record
from spot_billing_async.models.money import exact_sum, plain

if TYPE_CHECKING:
    from spot_billing_async.table import DaySum

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_ZERO = Decimal(0)


def ranking(sums: Iterable["DaySum"]) -> Iterator[Record]:
    """A line for each name and currency: what costs most comes first, currency by currency."""
    by_name: dict[tuple[str, str], list[DaySum]] = {}
    for each in sums:
        by_name.setdefault((each.currency, each.name or "(none)"), []).append(each)
    days = [each.day for mine in by_name.values() for each in mine if each.day is not None]
    totals = {key: exact_sum(each.total for each in mine) for key, mine in by_name.items()}
    for key in sorted(by_name, key=lambda key: (key[0], -totals[key], key[1])):
        costs = {each.day: each.total for each in by_name[key] if each.day is not None}
        yield {
            "name": key[1],
            "cost": plain(totals[key]),
            "currency": key[0],
            "days": len(costs),
            "by day": bars(spread(costs, min(days), max(days))) if costs else "",
        }


def spread(costs: Mapping[date, Decimal], first: date, last: date) -> list[Decimal]:
    """The cost a day of a range; in the mean of some days, where there is no room for each."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    a_bar = -(-len(days) // _WIDTH)
    spans = [days[start : start + a_bar] for start in range(0, len(days), a_bar)]
    return [exact_sum(costs.get(day, _ZERO) for day in span) / len(span) for span in spans]


def bars(amounts: Sequence[Decimal]) -> str:
    """A bar for each amount, from the least (or zero) to the most."""
    least, most = min(_ZERO, *amounts), max(_ZERO, *amounts)
    if least == most:
        return _BARS[0] * len(amounts)
    steps = len(_BARS) - 1
    return "".join(_BARS[int((amount - least) * steps / (most - least))] for amount in amounts)
