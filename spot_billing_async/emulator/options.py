"""Checks of what an emulator is made with; each raises ValueError that names the option."""

import math
from typing import cast

from spot_billing_async.emulator.rate_limit import RateLimit

_LAST_PORT = 65535


def check_options(
    *,
    token: object,
    port: object,
    rate_limit: object,
    latency_s: object,
    page_size: object,
    faults: object,
) -> None:
    """Refuse what could not be served.

    Raises:
        ValueError: names the option and what is allowed.
    """
    _demand(token is None or _is_token(token), "token", "printable ASCII text without spaces")
    _demand(port == 0 or (_is_count(port) and cast(int, port) <= _LAST_PORT), "port", "0 to 65535")
    _demand(rate_limit is None or _is_rate_limit(rate_limit), "rate_limit", "a RateLimit above 0")
    _demand(_is_number(latency_s, math.inf), "latency_s", "seconds from 0")
    _demand(page_size is None or _is_count(page_size), "page_size", "a whole number from 1")
    _demand(_is_number(faults, 1), "faults", "a share from 0 to 1")


def _demand(holds: bool, option: str, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{option} is not usable; allowed: {allowed}")


def _is_token(value: object) -> bool:
    if not isinstance(value, str) or value == "" or " " in value:
        return False
    return value.isascii() and value.isprintable()


def _is_rate_limit(value: object) -> bool:
    return (
        isinstance(value, RateLimit)
        and _is_count(value.requests)
        and _is_number(value.window_s, math.inf)
        and value.window_s > 0
    )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object, most: float) -> bool:
    return type(value) in {int, float} and 0 <= cast(float, value) <= most
