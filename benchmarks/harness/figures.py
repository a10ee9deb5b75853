"""What was measured, beside what is asked for: pure functions of numbers."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

_LARGE = 1000


@dataclass(frozen=True)
class Figure:
    """A figure that has a bar.

    Attributes:
        name: what was measured.
        value: what it came to.
        bar: what is asked for.
        at_least: whether the value has to reach the bar, rather than stay within it.
    """

    name: str
    value: float
    bar: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the value is on the right side of the bar."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def line(self) -> str:
        """The figure as a line of a table: name, value, bar, verdict."""
        bar = f"{'>=' if self.at_least else '<='} {short(self.bar)}"
        return f"{self.name:66} {short(self.value):>12} {bar:>14} {'yes' if self.is_met else 'NO'}"


def short(value: float) -> str:
    """A number as a reader takes it in: thousands apart, few decimals."""
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.4g}"


def spread(values: Sequence[float]) -> str:
    """The least and the most of some values."""
    return f"{short(min(values))}-{short(max(values))}"


def median_ratio(values: Sequence[float], floor: Sequence[float]) -> float:
    """The median of the ratios to the floor, each within one round."""
    return statistics.median(m / f for m, f in zip(values, floor, strict=True))


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The k of the curve a * x**k that fits best: the slope, where both axes are logarithmic.

    0 is a cost that does not grow, 1 one that grows in proportion.
    """
    logs = [(log(x), log(y)) for x, y in points]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope
