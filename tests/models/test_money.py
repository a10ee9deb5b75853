"""Exact sums of amounts."""

import pickle
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.models.money import NO_CURRENCY, exact_sum, totals_by_currency

AMOUNTS = st.decimals(
    min_value=Decimal(-(10**15)), max_value=Decimal(10**15), allow_nan=False, places=28
)


@given(st.lists(AMOUNTS))
def test_a_sum_keeps_every_digit(amounts: list[Decimal]) -> None:
    """A sum equals that of rational arithmetic, in any surrounding decimal context."""
    with localcontext() as context:
        context.prec = 3
        total = exact_sum(amounts)
    assert Fraction(total) == sum(map(Fraction, amounts), Fraction(0))


@given(st.lists(st.tuples(st.sampled_from(["USD", "EUR", "usd", None, ""]), AMOUNTS)))
def test_currencies_are_never_mixed(rows: list[tuple[str | None, Decimal]]) -> None:
    """Each currency, in any case, has its own total, and so do rows without one."""
    totals = totals_by_currency([cost for _, cost in rows], [code for code, _ in rows])
    for code in ("USD", "EUR", NO_CURRENCY):
        costs = [cost for name, cost in rows if (name.upper() if name else NO_CURRENCY) == code]
        assert Fraction(totals.get(code, Decimal(0))) == sum(map(Fraction, costs), Fraction(0))


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "-Infinity", "1e999999", "1e-999999"])
def test_an_amount_that_is_not_finite_is_an_error(bad: str) -> None:
    """NaN, infinity and huge exponents are refused quickly, and never enter a total."""
    with pytest.raises(ArithmeticError) as caught:
        exact_sum([Decimal(1), Decimal(bad)])
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
