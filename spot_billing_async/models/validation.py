"""Checks of arguments, made before anything is sent.

They raise an `ArgumentError`, except `check_count`, `check_flag` and `check_seconds`, which check
settings and raise a `ConfigError`. Each error names the field, what is allowed and the value.
Functions named `checked_…` return the value.
"""

from collections.abc import Iterable
from datetime import date, datetime
from sys import float_info
from typing import TypeGuard

from spot_billing_async.errors import ArgumentError, ConfigError
from spot_billing_async.models import GROUP_BY, CostQuery, GroupBy


def checked_id(field: str, value: object) -> str:
    """Return an id: printable text that is not blank; the contract restricts ids no further."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ArgumentError(f"{field} must be a non-empty string of printable text, got {value!r}")
    return value


def check_flag(field: str, value: object) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{field} must be True or False, got {value!r}")


def checked_text(field: str, value: object, *, may_be_empty: bool = False) -> str:
    """Return a text that UTF-8 can encode, by default one that is not blank.

    Half of a surrogate pair, for example, cannot be encoded, and no JSON can hold it.
    """
    if not isinstance(value, str) or not (may_be_empty or value.strip()):
        kind = "a string" if may_be_empty else "a non-empty string"
        raise ArgumentError(f"{field} must be {kind}, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"{field} must be valid Unicode text, got {value!r}") from None
    return value


def checked_ids(field: str, values: Iterable[object]) -> tuple[str, ...]:
    """Return ids in the given order, without duplicates; an error names the index too."""
    # The characters of a bare string are hardly meant as ids.
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArgumentError(f"{field} must be a list of ids, got {values!r}")
    return tuple(
        dict.fromkeys(checked_id(f"{field}[{i}]", value) for i, value in enumerate(values))
    )


def checked_date(field: str, value: object) -> date:
    """Return a calendar day; a date-time is refused, as its day depends on a time zone."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ArgumentError(f"{field} must be a datetime.date without a time, got {value!r}")
    return value


def check_range(from_date: date | None, to_date: date | None) -> None:
    """Raise unless both ends are days, where given, and in order."""
    if from_date is not None:
        checked_date("from_date", from_date)
    if to_date is not None:
        checked_date("to_date", to_date)
    if from_date is not None and to_date is not None and from_date > to_date:
        raise ArgumentError(f"from_date must be on or before to_date {to_date}, got {from_date}")


def check_query(place: str, query: CostQuery) -> None:
    """Raise unless the fields of a query are valid; the error names the id with its place."""
    if query.account_id is not None:
        checked_id(place + "account_id", query.account_id)
    check_range(query.from_date, query.to_date)
    checked_group_by(query.group_by)


def checked_group_by(value: object) -> GroupBy | None:
    """Return a dimension of the contract, or None."""
    if value is not None and not (isinstance(value, str) and value in GROUP_BY):
        allowed = ", ".join(map(repr, GROUP_BY))
        raise ArgumentError(f"group_by must be one of {allowed} or None, got {value!r}")
    return value


def check_count(name: str, value: object, *, minimum: int = 1) -> None:
    """Raise unless `value` is an integer of at least `minimum`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ConfigError(f"{name} must be an integer >= {minimum}, got {value!r}")


def is_number(value: object) -> TypeGuard[float]:
    """Return whether `value` is an int or float that a float can hold, and not a bool."""
    is_bool = isinstance(value, bool)
    return isinstance(value, int | float) and not is_bool and abs(value) <= float_info.max


def check_seconds(name: str, value: object) -> None:
    """Raise unless `value` is a number of seconds above 0."""
    if not is_number(value) or value <= 0:
        raise ConfigError(f"{name} must be a number of seconds > 0, got {value!r}")
