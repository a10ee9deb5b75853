"""Retry decisions: a pure function of the failure, made anew after each one.

A request may be sent again if that cannot do harm: its operation is idempotent, or it is certain
that the server did not act on it (it was never reached, or it refused with 429). A retry makes
sense only if it may end differently: no connection, a broken body, 5xx, rate limiting.

The wait is random below a bound that doubles ('full jitter'), so that clients which failed together
do not return together. If the server asks for a wait, the random wait is added to it. A
rate-limited request came too early: the call queues at its limiter again, as often as its deadline
allows.
"""

from collections.abc import Callable

import msgspec

from spot_billing_async._core.http.config import RetryPolicy
from spot_billing_async.errors import (
    ApiError,
    DecodeError,
    RateLimitedError,
    ServerError,
    SpotBillingError,
    TransportError,
)

REPEATABLE = {408, 425}  # the request came too late on a kept connection, or too early on a new one
_MAX_DOUBLINGS = 100  # far beyond any cap; more would overflow a float
_MAX_SAVED_RETRIES = 100  # that earlier calls without failures have left for later ones


class Retry(msgspec.Struct, frozen=True):
    """Decision to send the request again, `after_s` seconds from now."""

    after_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Decision not to retry; `reason` says why, for a log."""

    reason: str


class RetryBudget:
    """Number of retries that all calls of a client together may still make.

    Of n calls that all fail, the server gets at most n + max(reserve, share * n) requests, beside
    one for each kept connection that has died.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._share = policy.budget_share
        self._reserve = policy.budget_reserve
        self.calls: int = 0  # requests that the session sent for the first time
        self._spent = 0.0

    def take(self) -> bool:
        """Take one retry from the budget; return whether there was one."""
        self._spent = max(self._spent, self._share * self.calls - _MAX_SAVED_RETRIES)
        if self._spent + 1 > max(self._reserve, self._share * self.calls):
            return False
        self._spent += 1
        return True


def decide(
    policy: RetryPolicy,
    failure: SpotBillingError,
    *,
    idempotent: bool,
    attempts: int,
    left_s: float,
    limiter_wait_s: float,
    budget: RetryBudget,
    random: Callable[[], float],
) -> Retry | GiveUp:
    """Decide whether to send a request again, and take the retry from the budget.

    `attempts` are the requests for this response so far that were not rate-limited. `left_s` is
    the time until the call's deadline, and `limiter_wait_s` until the limiter may let the next
    request through. `random` returns a number from 0 to 1.
    """
    server_wait_s = failure.retry_after_s if isinstance(failure, ApiError) else None
    is_rate_limited = isinstance(failure, RateLimitedError)
    bound_s = min(
        policy.backoff_cap_s, policy.backoff_base_s * 2.0 ** min(attempts - 1, _MAX_DOUBLINGS)
    )
    after_s = 0.0 if is_rate_limited else (server_wait_s or 0.0) + random() * bound_s
    wait_s = max(after_s, limiter_wait_s)
    was_not_acted_on = is_rate_limited or (isinstance(failure, TransportError) and not failure.sent)
    reason = None
    if not is_retryable(failure):
        reason = "a retry would end the same way"
    elif not (idempotent or was_not_acted_on):
        reason = "the server may have acted on it"
    elif policy.max_attempts == 1 or (attempts >= policy.max_attempts and not is_rate_limited):
        reason = f"{max(attempts, 1)} attempts were made"
    elif wait_s >= left_s:
        reason = f"the wait of {wait_s:.3g} s would pass the deadline"
    elif not is_rate_limited and not budget.take():
        reason = "the retry budget is spent: too many calls fail"
    return Retry(after_s) if reason is None else GiveUp(reason)


def is_retryable(failure: SpotBillingError) -> bool:
    """Return whether a retry may end differently: connection, body, 408, 425, 429 or 5xx."""
    if isinstance(failure, DecodeError | TransportError):
        return not failure.permanent
    is_limited = isinstance(failure, RateLimitedError | ServerError)
    return is_limited or (isinstance(failure, ApiError) and failure.status in REPEATABLE)
