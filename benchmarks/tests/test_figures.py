"""Figures beside bars, ratios, and exponents."""

# ruff: noqa: PLR2004  a test states its expected figures in place

import pytest

from benchmarks.harness.figures import Figure, exponent, median_ratio, short, spread


def test_a_bar_is_an_upper_or_a_lower_limit() -> None:
    """A value up to the bar meets it, and for a lower limit a value from the bar on."""
    assert Figure("share", 1.0, 1.1).is_met
    assert not Figure("share", 1.2, 1.1).is_met
    assert Figure("rows", 2e6, 1e6, at_least=True).is_met
    assert not Figure("rows", 5e5, 1e6, at_least=True).is_met


def test_a_line_shows_value_bar_and_verdict() -> None:
    """A line shows all three, and on which side of the bar the good values are."""
    words = Figure("rows per second", 500_000, 1_000_000, at_least=True).line().split()
    assert words[-4:] == ["500,000", ">=", "1,000,000", "NO"]


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is slow for a whole round does not change the ratio."""
    assert median_ratio([2, 200, 20], [1, 100, 10]) == 2


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_the_exponent_is_that_of_the_power_law(power: float) -> None:
    """A cost of 3 * x ** power has that exponent."""
    assert exponent([(x, 3 * x**power) for x in (1, 10, 1000)]) == pytest.approx(power)


def test_numbers_are_short() -> None:
    """Large numbers have separators and no decimals, small ones four digits."""
    assert short(1234567.8) == "1,234,568"
    assert spread([3.14159, 2, 1000]) == "2-1,000"
