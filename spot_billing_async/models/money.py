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
    localcontext,
)

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
    with localcontext(_EXACT):
        total = sum(amounts, start)
    require_amounts((total,))
    return total


def require_amounts(amounts: Iterable[Decimal]) -> None:
    """See that all are amounts: finite numbers.

    Raises:
        ArithmeticError: one is infinite, or not a number.
        TypeError: one is no number at all.
    """
    if not all(map(Decimal.is_finite, amounts)):
        raise InvalidOperation("an amount is not a finite number")


def totals_by_currency(
    amounts: Sequence[Decimal], currencies: Sequence[str | None]
) -> dict[str, Decimal]:
    """Sum amounts by the currency at the same place; never across currencies.

    Raises:
        ArithmeticError, TypeError: as `exact_sum`.
    """
    if not currencies:
        return {}
    if currencies.count(currencies[0]) == len(currencies):  # as a rule
        return {_code(currencies[0]): exact_sum(amounts)}
    met = dict.fromkeys(currencies)
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
    sums = {code: _EXACT.add(totals.get(code, _ZERO), amount) for code, amount in more.items()}
    require_amounts(sums.values())
    return {**totals, **sums}


def plain(amount: Decimal) -> str:
    """An amount in full: every digit, no exponent, no zeros at the end of its decimals."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _code(currency: str | None) -> str:
    return currency.upper() if currency else NO_CURRENCY
