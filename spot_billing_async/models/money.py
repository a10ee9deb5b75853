"""Exact money: amounts are added as they were written, and never rounded.

Python's default decimal context keeps 28 digits and rounds the rest away without a word. The one
here traps instead: a sum either holds every digit of every amount or it is an error.
"""

from collections.abc import Iterable
from decimal import (
    Clamped,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Subnormal,
    Underflow,
)

# Wide enough for any bill (real ones carry up to 28 decimals), narrow enough that an amount like
# 1e999999999 cannot make one addition allocate a gigabyte.
_EXACT = Context(
    prec=200,
    Emin=-1000,
    Emax=1000,
    traps=[Clamped, DivisionByZero, Inexact, InvalidOperation, Overflow, Subnormal, Underflow],
)

NO_CURRENCY = "XXX"
"""ISO 4217's code for 'no currency': what an amount without one is totalled under."""


def exact_sum(amounts: Iterable[Decimal], start: Decimal = Decimal(0)) -> Decimal:
    """Add amounts without losing a digit.

    Raises:
        ArithmeticError: an amount is not a finite number, or the sum needs over 200 digits.
    """
    add = _EXACT.add
    total = start
    for amount in amounts:
        total = add(total, amount)
    if not total.is_finite():
        raise InvalidOperation([InvalidOperation])
    return total


def add_totals(totals: dict[str, Decimal], more: Iterable[tuple[str | None, Decimal]]) -> None:
    """Add amounts to `totals` by currency code, in place and exactly; never across currencies.

    Raises:
        ArithmeticError: as `exact_sum`.
    """
    for currency, amount in more:
        code = currency.upper() if currency else NO_CURRENCY
        totals[code] = exact_sum((amount,), totals.get(code, Decimal(0)))

