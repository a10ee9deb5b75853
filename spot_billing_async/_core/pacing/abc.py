"""Protocols of limiters and of quotas that several processes share.

A `RouteLimiter` decides at once. A shared limiter may first have to ask the other processes. It
therefore reads how many calls wait for it, and notifies them when its state changes.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota, RateLimit


class Limiter(Protocol):
    """Admission of requests, as by `RouteLimiter`; times are seconds of the caller's clock."""

    @property
    def has_quota_headers(self) -> bool:
        """True if the server reports its quota in headers."""

    @property
    def rate_limit(self) -> RateLimit | None:
        """The server's limit; None if no limit has been observed."""

    def wait_s(self, now_s: float) -> float:
        """Return 0.0 if a request may start now, else the seconds until the next check.

        Infinite if an event other than the passage of time has to happen first.
        """

    def min_wait_s(self, now_s: float) -> float:
        """Return a lower bound of the seconds until a request may start."""

    def start(self, now_s: float) -> Permit:
        """Admit a request; call only if `wait_s` is 0."""

    def on_accepted(self) -> None:
        """Record that the server has accepted the credential: its quota may be shared and kept."""

    def on_lost(self, permit: Permit, now_s: float, *, sent: bool) -> None:
        """Record a request without a response; `sent` if the server may have counted it."""

    def on_response(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """Record a response other than a rate-limit rejection."""

    def on_rejected(
        self, permit: Permit, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """Record a rejection by the server's rate limit."""


class WaitingCalls(Protocol):
    """Calls that wait for limiters."""

    def count_sendable(self, limiter: Limiter) -> int:
        """Return how many waiting calls of a limiter could be sent now, if it admitted them."""

    def recheck(self, limiter: Limiter) -> None:
        """Check a limiter's calls again, after a change that these calls did not cause."""


@runtime_checkable
class SharedQuota(Protocol):
    """Quota that all processes of an organization share, such as `redis.RedisQuota`.

    Its failures never fail a call, nor delay one beyond its deadline.
    """

    async def open(self, waiting_calls: WaitingCalls, clock: Callable[[], float]) -> None:
        """Start, with background tasks until `close`; raise `ConfigError` if it is open already."""

    async def close(self) -> None:
        """Stop, and return the permits that this process still holds."""

    def limiter(self, name: str, deadline_s: float) -> Limiter:
        """Return the limiter of a credential, server and operation: one for each `name`.

        `deadline_s` is the deadline of the calls; sharing may use up only a part of it.
        """
