"""Measured figures beside their bars: pure functions of numbers."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

_LARGE = 1000


@dataclass(frozen=True)
class Figure:
    """A measured value that has a bar.

    Attributes:
        name: its name in tables.
        value: the measured value.
        bar: the limit of the value.
        at_least: True if the bar is a lower limit; by default it is an upper one.
    """

    name: str
    value: float
    bar: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """True if the value is within the bar."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def line(self) -> str:
        """Return a line of a table: name, value, bar, verdict."""
        bar = f"{'>=' if self.at_least else '<='} {short(self.bar)}"
        return f"{self.name:66} {short(self.value):>12} {bar:>14} {'yes' if self.is_met else 'NO'}"


def short(value: float) -> str:
    """Format a number: from 1,000 on without decimals, below with four digits."""
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.4g}"


def spread(values: Sequence[float]) -> str:
    """Format the smallest and the largest of some values."""
    return f"{short(min(values))}-{short(max(values))}"


def median_ratio(values: Sequence[float], floor: Sequence[float]) -> float:
    """Return the median of the ratios to the floor, each taken within one round."""
    return statistics.median(m / f for m, f in zip(values, floor, strict=True))


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the k of the best fitting curve a * x**k.

    It is the slope on logarithmic axes: 0 is a constant cost, 1 a proportional one.
    """
    logs = [(log(x), log(y)) for x, y in points]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope
