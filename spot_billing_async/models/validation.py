"""Checks of arguments, made before anything is sent.

Each says which field has which value, and what is allowed; those named `checked_…` return it.
"""

from collections.abc import Iterable
from datetime import date, datetime
from math import isfinite
from typing import TypeGuard

from spot_billing_async.errors import ArgumentError, ConfigError
from spot_billing_async.models import GROUP_BY, GroupBy


def checked_id(field: str, value: object) -> str:
    """An id: text that is not blank and holds no control character; anything else may stand in it.

    Raises:
        ArgumentError: names the field and the value.
    """
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ArgumentError(
            f"{field}: {value!r} is no id; allowed: printable text (str) that is not empty"
        )
    return value


def check_flag(field: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ArgumentError: names the field and the value.
    """
    if not isinstance(value, bool):
        raise ArgumentError(f"{field}: {value!r} is not allowed; allowed: True or False")


def checked_path_id(field: str, value: object) -> str:
    """An id that is to stand in a path, where `.` and `..` would lead to another resource.

    Raises:
        ArgumentError: names the field and the value.
    """
    text = checked_id(field, value)
    if text in {".", ".."}:
        raise ArgumentError(f"{field}: {text!r} would change the path; allowed: any other id")
    return text


def checked_text(field: str, value: object, *, may_be_empty: bool = False) -> str:
    """A text, by default one that is not blank.

    Raises:
        ArgumentError: names the field and the value; also for text that is no Unicode, such as half
            of a surrogate pair, which no JSON can hold.
    """
    if not isinstance(value, str) or not (may_be_empty or value.strip()):
        kind = "text" if may_be_empty else "text that is not empty"
        raise ArgumentError(f"{field}: {value!r} is not allowed; allowed: {kind}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"{field}: {value!r} is not allowed; allowed: Unicode text") from None
    return value


def checked_ids(field: str, values: Iterable[object]) -> tuple[str, ...]:
    """Ids in the order given, each once.

    Raises:
        ArgumentError: names the field, the place and the value; also for a bare string, whose
            characters are hardly meant.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArgumentError(f"{field}: {values!r} is no list; allowed: a list of ids")
    return tuple(
        dict.fromkeys(checked_id(f"{field}[{i}]", value) for i, value in enumerate(values))
    )


def checked_date(field: str, value: object) -> date:
    """A calendar day. A date-time is refused: which day it falls on depends on a zone.

    Raises:
        ArgumentError: names the field and the value.
    """
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ArgumentError(f"{field}: {value!r} is no day; allowed: a datetime.date")
    return value


def check_range(from_date: date | None, to_date: date | None) -> None:
    """Both ends are days, where given, and in order.

    Raises:
        ArgumentError: names the field and the value.
    """
    if from_date is not None:
        checked_date("from_date", from_date)
    if to_date is not None:
        checked_date("to_date", to_date)
    if from_date is not None and to_date is not None and from_date > to_date:
        raise ArgumentError(
            f"from_date: {from_date} is after to_date {to_date}; allowed: the same day or before"
        )


def checked_group_by(value: object) -> GroupBy | None:
    """A dimension of the contract, or None.

    Raises:
        ArgumentError: names the value and the dimensions.
    """
    if value is not None and value not in GROUP_BY:
        raise ArgumentError(
            f"group_by: {value!r} is unknown; allowed: {', '.join(GROUP_BY)} or None"
        )
    return value


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number from 1.

    Raises:
        ConfigError: names the field and the value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name}: {value!r} is not allowed; allowed: a whole number from 1")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no number of seconds above 0.

    Raises:
        ConfigError: names the field and the value.
    """
    if not _is_number(value) or value <= 0:
        raise ConfigError(f"{name}: {value!r} is not allowed; allowed: seconds above 0")
