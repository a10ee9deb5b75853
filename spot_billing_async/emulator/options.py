"""Reads and checks what an emulator is made with; what is wrong is a ValueError naming the option.

Options that have a text form on the command line may be given as that text.
"""

import math
from collections.abc import Callable
from typing import TypeVar, cast

from spot_billing_async.emulator.chaos.middleware import Terms
from spot_billing_async.emulator.chaos.randomness import FaultPlan, Latency
from spot_billing_async.emulator.chaos.rate_limit import RateLimit

_LAST_PORT = 65535


T = TypeVar("T")


def check_options(
    *, token: object, port: object, page_size: object, total_count: object, max_rows: object
) -> None:
    """Refuse what could not be served.

    Raises:
        ValueError: names the option and what is allowed.
    """
    _demand(token is None or _is_token(token), "token", "printable ASCII text without spaces")
    _demand(port == 0 or (_is_count(port) and cast(int, port) <= _LAST_PORT), "port", "0 to 65535")
    _demand(page_size is None or _is_count(page_size), "page_size", "a whole number from 1")
    _demand(type(total_count) is bool, "total_count", "True or False")
    _demand(max_rows is None or _is_count(max_rows), "max_rows", "a whole number from 1")


def read_terms(
    *,
    rate_limit: RateLimit | str | None,
    rate_limit_headers: bool,
    other_consumer: float,
    capacity: int | None,
    latency: Latency | str | None,
    faults: FaultPlan | str | float,
    seed: int,
) -> Terms:
    """The conditions, with what came as text read.

    Raises:
        ValueError: names the option and what is allowed.
    """
    limit = _read("rate_limit", rate_limit, RateLimit.parse)
    time = _read("latency", Latency(0) if latency is None else latency, Latency.parse)
    if not isinstance(faults, FaultPlan | str):
        _demand(_is_number(faults, 1), "faults", "a share from 0 to 1, a FaultPlan or its text")
        faults = FaultPlan.even(faults)
    plan = _read("faults", faults, FaultPlan.parse)
    _demand(limit is None or _is_rate_limit(limit), "rate_limit", "a RateLimit above 0")
    _demand(type(rate_limit_headers) is bool, "rate_limit_headers", "True or False")
    _demand(_is_number(other_consumer, 1), "other_consumer", "a share from 0 to 1")
    _demand(capacity is None or _is_count(capacity), "capacity", "a whole number from 1")
    _demand(_is_latency(time), "latency", "a Latency from 0 s, its spread at most its mean")
    _demand(type(seed) is int, "seed", "a whole number")
    return Terms(
        rate_limit=limit,
        rate_limit_headers=rate_limit_headers,
        other_consumer=other_consumer,
        capacity=capacity,
        latency=time,
        faults=plan,
        seed=seed,
    )


def _read(option: str, value: T | str, parse: Callable[[str], T]) -> T:
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{option} is not usable: {error}") from None


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


def _is_latency(value: object) -> bool:
    return (
        isinstance(value, Latency)
        and _is_number(value.mean_s, math.inf)
        and _is_number(value.spread_s, value.mean_s)
    )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object, most: float) -> bool:
    return type(value) in {int, float} and 0 <= cast(float, value) <= most
