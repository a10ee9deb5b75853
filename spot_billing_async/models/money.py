"""Exact money: amounts are added as they were written, and never rounded.

Python's default decimal context keeps 28 digits and rounds the rest away without a word. The one
here traps instead: a sum either holds every digit of every amount or it is an error.
"""

from collections.abc import Iterable, Sequence
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
    totals: dict[str, Decimal] = {}
    for currency in met:
        amounts_of_it = (
            amounts
            if len(met) == 1
            else [a for a, c in zip(amounts, currencies, strict=True) if c == currency]
        )
        add_total(totals, currency, exact_sum(amounts_of_it))
    return totals


def add_total(totals: dict[str, Decimal], currency: str | None, amount: Decimal) -> None:
    """Add an amount to the total of its currency, in place.

    Raises:
        ArithmeticError: as `exact_sum`.
    """
    code = currency.upper() if currency else NO_CURRENCY
    totals[code] = exact_sum((amount,), totals.get(code, _ZERO))
