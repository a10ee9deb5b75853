"""Adding money."""

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
    """The sum is the one that rational arithmetic gives, whatever the surrounding context."""
    with localcontext() as context:
        context.prec = 3
        total = exact_sum(amounts)
    assert Fraction(total) == sum(map(Fraction, amounts), Fraction(0))


@given(st.lists(st.tuples(st.sampled_from(["USD", "EUR", "usd", None, ""]), AMOUNTS)))
def test_currencies_are_never_mixed(rows: list[tuple[str | None, Decimal]]) -> None:
    """Each currency has its own total, whatever its case; rows that name none are kept apart."""
    totals = totals_by_currency([cost for _, cost in rows], [code for code, _ in rows])
    for code in ("USD", "EUR", NO_CURRENCY):
        mine = [cost for met, cost in rows if (met.upper() if met else NO_CURRENCY) == code]
        assert Fraction(totals.get(code, Decimal(0))) == sum(map(Fraction, mine), Fraction(0))


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "-Infinity", "1e999999", "1e-999999"])
def test_what_is_no_finite_amount_is_an_error(bad: str) -> None:
    """NaN, infinity and absurd exponents are refused, quickly, instead of spoiling a total."""
    with pytest.raises(ArithmeticError) as caught:
        exact_sum([Decimal(1), Decimal(bad)])
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
