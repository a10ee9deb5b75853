"""Whether a failed request is sent again, and when: a pure decision, made anew after each failure.

A request may be sent again where that cannot do harm: its operation is idempotent, or it is certain
that the server did not act (it was never reached, or it refused with 429). It makes sense only
where another try may end differently: no connection, rate limiting, 5xx.

The wait is a random one below a bound that doubles ('full jitter'), so that clients which failed
together do not come back together. Where the server says how long to wait, its word is the least.
"""

from collections.abc import Callable

import msgspec

from spot_billing_async.config import RetryPolicy
from spot_billing_async.errors import (
    ApiError,
    RateLimitedError,
    ServerError,
    SpotBillingError,
    TransportError,
)

_DOUBLINGS = 100  # far past any cap; more would overflow a float


class Retry(msgspec.Struct, frozen=True):
    """Send again, `after_s` seconds from now."""

    after_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not send again; `reason` says why, in words for a log."""

    reason: str


def decide(
    policy: RetryPolicy,
    failure: SpotBillingError,
    *,
    idempotent: bool,
    attempt: int,
    left_s: float,
    random: Callable[[], float],
) -> Retry | GiveUp:
    """Decide after a failure.

    Args:
        policy: how often and how patiently.
        failure: what the last request met.
        idempotent: sending twice does what sending once does.
        attempt: requests sent so far, at least 1.
        left_s: seconds until the call's deadline.
        random: answers a number from 0 to 1.
    """
    if not may_pass(failure):
        return GiveUp("another try would end the same way")
    if not (idempotent or _was_not_acted_on(failure)):
        return GiveUp("the server may have acted on it")
    if attempt >= policy.max_attempts:
        return GiveUp(f"{attempt} attempts were made")
    doubled = 2.0 ** min(attempt - 1, _DOUBLINGS)
    bound_s = min(policy.backoff_cap_s, policy.backoff_base_s * doubled)
    asked_s = failure.retry_after_s if isinstance(failure, ApiError) else None
    after_s = (asked_s or 0.0) + random() * bound_s
    if after_s >= left_s:
        return GiveUp(f"the wait of {after_s:.3g} s would pass the deadline")
    return Retry(after_s)


def may_pass(failure: SpotBillingError) -> bool:
    """Another try may end differently: no connection, rate limiting, 5xx."""
    return isinstance(failure, TransportError | RateLimitedError | ServerError)


def _was_not_acted_on(failure: SpotBillingError) -> bool:
    return isinstance(failure, RateLimitedError) or (
        isinstance(failure, TransportError) and not failure.sent
    )
