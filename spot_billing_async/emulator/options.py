"""Validation of the emulator's options; every error is a ValueError that names the option.

Options that have a text form on the command line may be given as that text.
"""

import math
from typing import cast

from spot_billing_async.emulator.chaos.middleware import ChaosSettings
from spot_billing_async.emulator.chaos.randomness import FaultPlan, Latency
from spot_billing_async.emulator.chaos.rate_limit import RateLimit
from spot_billing_async.emulator.hosts import is_host

_MAX_PORT = 65535


def check_options(
    *,
    token: object,
    host: object,
    port: object,
    allow_host: object,
    page_size: object,
    total_count: object,
    max_rows: object,
) -> None:
    """Raise unless the options can be served.

    Raises:
        ValueError: an option is invalid; the message names it and the allowed values.
    """
    if token is not None:
        is_text = isinstance(token, str) and token.isascii() and token.isprintable()
        # The token is a secret, so the message does not contain the value.
        if not is_text or token == "" or " " in cast(str, token):
            raise ValueError("token must be printable ASCII text without spaces")
    is_port = port == 0 or (_is_positive_int(port) and cast(int, port) <= _MAX_PORT)
    _require(is_port, "port", f"an integer from 0 to {_MAX_PORT}", port)
    _require(isinstance(host, str), "host", "a host name or address", host)
    is_hosts = isinstance(allow_host, list | tuple) and all(map(is_host, allow_host))
    _require(is_hosts, "allow_host", "a list of host names without ports", allow_host)
    for name, value in (("page_size", page_size), ("max_rows", max_rows)):
        is_valid = value is None or _is_positive_int(value)
        _require(is_valid, name, "an integer >= 1 or None", value)
    _require(type(total_count) is bool, "total_count", "True or False", total_count)


def parse_chaos_settings(
    *,
    rate_limit: RateLimit | str | None,
    rate_limit_headers: bool,
    other_consumer: float,
    capacity: int | None,
    latency: Latency | str | None,
    faults: FaultPlan | str | float,
    seed: int,
) -> ChaosSettings:
    """Return the validated settings, with options in text form parsed.

    Raises:
        ValueError: an option is invalid; the message names it and the allowed values.
    """
    limit = RateLimit.parse(rate_limit) if isinstance(rate_limit, str) else rate_limit
    if isinstance(latency, str):
        latency = Latency.parse(latency)
    elif latency is None:
        latency = Latency(0)
    if isinstance(faults, str):
        faults = FaultPlan.parse(faults)
    elif not isinstance(faults, FaultPlan):
        allowed = "a share from 0 to 1, a FaultPlan or its text form"
        _require(_is_number(faults, 1), "faults", allowed, faults)
        faults = FaultPlan.even(faults)
    is_limit = limit is None or _is_rate_limit(limit)
    _require(is_limit, "rate_limit", "a RateLimit with numbers > 0 or None", limit)
    _require(
        type(rate_limit_headers) is bool, "rate_limit_headers", "True or False", rate_limit_headers
    )
    _require(
        _is_number(other_consumer, 1), "other_consumer", "a number from 0 to 1", other_consumer
    )
    is_capacity = capacity is None or _is_positive_int(capacity)
    _require(is_capacity, "capacity", "an integer >= 1 or None", capacity)
    _require(_is_latency(latency), "latency", "a Latency with 0 <= spread_s <= mean_s", latency)
    _require(type(seed) is int, "seed", "an integer", seed)
    return ChaosSettings(
        rate_limit=limit,
        rate_limit_headers=rate_limit_headers,
        other_consumer=other_consumer,
        capacity=capacity,
        latency=latency,
        faults=faults,
        seed=seed,
    )


def _require(is_valid: bool, option: str, allowed: str, value: object) -> None:
    if not is_valid:
        raise ValueError(f"{option} must be {allowed}, got {value!r}")


def _is_rate_limit(value: object) -> bool:
    return (
        isinstance(value, RateLimit)
        and _is_positive_int(value.requests)
        and _is_number(value.window_s, math.inf)
        and value.window_s > 0
    )


def _is_latency(value: object) -> bool:
    return (
        isinstance(value, Latency)
        and _is_number(value.mean_s, math.inf)
        and _is_number(value.spread_s, value.mean_s)
    )


def _is_positive_int(value: object) -> bool:
    return type(value) is int and value >= 1  # `bool` is a subclass of int


def _is_number(value: object, maximum: float) -> bool:
    return type(value) in {int, float} and 0 <= cast(float, value) <= maximum
