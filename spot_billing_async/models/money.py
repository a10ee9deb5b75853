"""Exact money: amounts are added as they were written, and never rounded.

Python's default decimal context keeps 28 digits and rounds the rest away without a word. The one
here traps instead: a sum either holds every digit of every amount or it is an error.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import (
    Clamped,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
    Subnormal,
    Underflow,
)
from functools import reduce

# Wide enough for any bill (real ones carry up to 28 decimals), narrow enough that an amount like
# 1e999999999 cannot make one addition allocate a gigabyte.
_EXACT = Context(
    prec=200,
    Emin=-1000,
    Emax=1000,
    traps=[Clamped, Inexact, InvalidOperation, Overflow, Subnormal, Underflow],
)
_ZERO = Decimal(0)

NO_CURRENCY = "XXX"
"""ISO 4217's code for 'no currency': what an amount without one is totalled under."""


def exact_sum(amounts: Iterable[Decimal], start: Decimal = _ZERO) -> Decimal:
    """Add amounts without losing a digit.

    Raises:
        ArithmeticError: an amount is not a finite number, or the sum needs over 200 digits.
        TypeError: an amount is no number at all.
    """
    total = reduce(_EXACT.add, amounts, start)
    if not total.is_finite():
        raise InvalidOperation("an amount is not a finite number")
    return total


def totals_by_currency(
    amounts: Sequence[Decimal], currencies: Sequence[str | None]
) -> dict[str, Decimal]:
    """Sum amounts by the currency at the same place; never across currencies.

    Raises:
        ArithmeticError, TypeError: as `exact_sum`.
    """
    met = dict.fromkeys(currencies)
    if len(met) == 1:
        return {_code(currency): exact_sum(amounts) for currency in met}
    totals: dict[str, Decimal] = {}
    for currency in met:
        mine = [a for a, c in zip(amounts, currencies, strict=True) if c == currency]
        totals = merged_totals(totals, {_code(currency): exact_sum(mine)})
    return totals


def merged_totals(totals: Mapping[str, Decimal], more: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The totals of two, by currency; neither is changed.

    Raises:
        ArithmeticError: as `exact_sum`.
    """
    sums = {code: exact_sum((amount,), totals.get(code, _ZERO)) for code, amount in more.items()}
    return {**totals, **sums}


def plain(amount: Decimal) -> str:
    """An amount in full: every digit, no exponent, no zeros at the end of its decimals."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _code(currency: str | None) -> str:
    return currency.upper() if currency else NO_CURRENCY
