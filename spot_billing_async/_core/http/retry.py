"""Whether a failed request is sent again, and when: a pure decision, made anew after each failure.

A request may be sent again where that cannot do harm: its operation is idempotent, or it is certain
that the server did not act (it was never reached, or it refused with 429). It makes sense only
where another try may end differently: no connection, a body that came broken, 5xx, a refusal.

The wait is a random one below a bound that doubles ('full jitter'), so that clients which failed
together do not come back together. Where the server says how long to wait, its word is the least.
A refusal is no failure of the request, it says 'later'. When, is the gate's to know (see `pacing`);
the call lines up there again, and its deadline is the only end to that.

All calls together have a budget of retries, so that a server in trouble is not buried under them.
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

_DOUBLINGS = 100  # far past any cap; more would overflow a float
_MOST_SAVED = 100  # retries; what calm hours leave over is not all spent on one bad minute


class Retry(msgspec.Struct, frozen=True):
    """Send again, `after_s` seconds from now."""

    after_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not send again; `reason` says why, in words for a log."""

    reason: str


class RetryBudget:
    """How many retries the calls of a client may still make.

    They are a share of what was asked for, or the reserve while that is more: of n calls that all
    fail, the server sees at most n + max(reserve, share * n) requests.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._share = policy.budget_share
        self._reserve = policy.budget_reserve
        self._asked = 0
        self._spent = 0.0

    def ask(self) -> None:
        """Count a request that is sent for the first time."""
        self._asked += 1
        self._spent = max(self._spent, self._share * self._asked - _MOST_SAVED)

    def take(self) -> bool:
        """Take one retry out, if there is one."""
        if self._spent + 1 > max(self._reserve, self._share * self._asked):
            return False
        self._spent += 1
        return True


def decide(
    policy: RetryPolicy,
    failure: SpotBillingError,
    *,
    idempotent: bool,
    tries: int,
    left_s: float,
    limiter_wait_s: float,
    budget: RetryBudget,
    random: Callable[[], float],
) -> Retry | GiveUp:
    """Decide after a failure.

    Args:
        policy: how often and how patiently.
        failure: what the last request met.
        idempotent: sending twice does what sending once does.
        tries: tries for this answer so far that were not refused for their rate.
        left_s: seconds until the call's deadline.
        limiter_wait_s: seconds until the gate may let the next request through.
        budget: of all calls; a retry that is decided on is taken out of it.
        random: answers a number from 0 to 1.
    """
    asked_s = failure.retry_after_s if isinstance(failure, ApiError) else None
    is_refused = isinstance(failure, RateLimitedError)
    doubled = 2.0 ** min(tries - 1, _DOUBLINGS)
    bound_s = min(policy.backoff_cap_s, policy.backoff_base_s * doubled)
    after_s = 0.0 if is_refused else (asked_s or 0.0) + random() * bound_s
    wait_s = max(after_s, limiter_wait_s)
    reason = None
    if not may_pass(failure):
        reason = "another try would end the same way"
    elif not (idempotent or _was_not_acted_on(failure)):
        reason = "the server may have acted on it"
    elif policy.max_attempts == 1 or (tries >= policy.max_attempts and not is_refused):
        reason = f"{max(tries, 1)} attempts were made"
    elif wait_s >= left_s:
        reason = f"the wait of {wait_s:.3g} s would pass the deadline"
    elif not is_refused and not budget.take():
        reason = "the retry budget is spent: too many calls fail"
    return Retry(after_s) if reason is None else GiveUp(reason)


def may_pass(failure: SpotBillingError) -> bool:
    """Another try may end differently: no connection, a broken body, rate limiting, 5xx."""
    if isinstance(failure, DecodeError):
        return not failure.permanent
    return isinstance(failure, TransportError | RateLimitedError | ServerError)


def _was_not_acted_on(failure: SpotBillingError) -> bool:
    return isinstance(failure, RateLimitedError) or (
        isinstance(failure, TransportError) and not failure.sent
    )
