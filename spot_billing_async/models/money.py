"""Exact money: a sum holds every digit of every amount, or is an error.

Python's default decimal context rounds silently to 28 digits. The functions raise an
ArithmeticError if an amount is NaN or infinite or a sum needs over 200 digits, and a TypeError if
an amount is not a number.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Clamped, Context, Decimal, Inexact, InvalidOperation, Subnormal, localcontext

# Wide enough for any bill (real ones carry up to 28 decimals), narrow enough that an amount like
# 1e999999999 cannot make one addition allocate a gigabyte. Overflow and underflow are inexact too.
_EXACT = Context(
    prec=200, Emin=-1000, Emax=1000, traps=[Clamped, Inexact, InvalidOperation, Subnormal]
)
_ZERO = Decimal(0)

NO_CURRENCY = "XXX"
"""ISO 4217's code for 'no currency': key of the total of amounts without one."""


def exact_sum(amounts: Iterable[Decimal], start: Decimal = _ZERO) -> Decimal:
    """Add amounts without losing a digit."""
    with localcontext(_EXACT):
        total = sum(amounts, start)
    # NaN and infinity propagate through a sum, so the total alone needs a check.
    if not total.is_finite():
        raise InvalidOperation("an amount is not a finite number")
    return total


def require_amounts(amounts: Iterable[Decimal]) -> None:
    """Raise unless all amounts are finite Decimals that a sum could hold exactly."""
    if not all(map(Decimal.is_finite, map(_EXACT.plus, amounts))):
        raise InvalidOperation("an amount is not a finite number")


def totals_by_currency(
    amounts: Sequence[Decimal], currencies: Sequence[str | None]
) -> dict[str, Decimal]:
    """Sum amounts by the upper-case code of the currency at the same index.

    Amounts whose currency is None or "" have the code `NO_CURRENCY`.
    """
    if not currencies:
        return {}
    first = currencies[0]
    if currencies.count(first) == len(currencies):  # the usual case, at the speed of list.count
        return {first.upper() if first else NO_CURRENCY: exact_sum(amounts)}
    totals: dict[str, Decimal] = {}
    for currency in dict.fromkeys(currencies):
        total = exact_sum(a for a, c in zip(amounts, currencies, strict=True) if c == currency)
        # 'usd' and 'USD' are one currency, so a key may repeat.
        totals = merge_totals(totals, {currency.upper() if currency else NO_CURRENCY: total})
    return totals


def merge_totals(totals: Mapping[str, Decimal], more: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Add totals by currency; neither argument is changed."""
    sums = {code: _EXACT.add(totals.get(code, _ZERO), amount) for code, amount in more.items()}
    require_amounts(sums.values())
    return {**totals, **sums}


def plain(amount: Decimal) -> str:
    """Format an amount in full: every digit, no exponent, no trailing zeros after the point."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
