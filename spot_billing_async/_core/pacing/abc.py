"""What pacing has to offer where several processes share one quota: the faces, not the work.

A `RouteLimiter` decides at once. One that is shared may first have to ask: so it is told who
waits in its line, and calls back when that changes who may go.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota, RateLimit


class Limiter(Protocol):
    """Admission of requests, as by `RouteLimiter`; times are seconds of the caller's clock."""

    @property
    def is_told(self) -> bool:
        """The server tells its quota in headers."""
        ...

    @property
    def rate_limit(self) -> RateLimit | None:
        """The server's limit; None where nothing shows that there is one."""
        ...

    def wait_s(self, now_s: float) -> float:
        """0.0 where a request may start now; else the seconds after which to look again.

        Infinite where something else than time has to happen first.
        """
        ...

    def due_s(self, now_s: float) -> float:
        """Seconds after which a request may start at the earliest."""
        ...

    def start(self, now_s: float) -> Permit:
        """Admit a request; only where `wait_s` is 0."""
        ...

    def on_lost(self, permit: Permit, now_s: float, *, sent: bool) -> None:
        """No answer came; `sent` where the server may have counted it."""
        ...

    def on_response(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """An answer came that is no refusal."""
        ...

    def on_rejected(
        self, permit: Permit, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """The server refused the request for its rate."""
        ...


class Line(Protocol):
    """Calls that wait before gates."""

    def waiting(self, limiter: Limiter) -> int:
        """How many of a gate's calls could go on the wire now, if it let them."""
        ...

    def changed(self, limiter: Limiter) -> None:
        """Look at a gate's calls again: something happened to it that no call of this line did."""
        ...


@runtime_checkable
class SharedQuota(Protocol):
    """Lets all processes of an organization pace as one, such as `redis.RedisQuota`.

    Nothing that it meets fails a call, or makes one wait beyond its deadline.
    """

    async def open(self, line: Line, clock: Callable[[], float]) -> None:
        """Begin; whatever runs from now on ends in `close`.

        Raises:
            ConfigError: it is open already.
        """
        ...

    async def close(self) -> None:
        """End, and give back what this process still holds."""
        ...

    def limiter(self, name: str, deadline_s: float) -> Limiter:
        """The gate that is shared under a name: the same one for the same name.

        Args:
            name: stands for credential, server and operation; it reveals none of them.
            deadline_s: of its calls; to share costs them a part of that at most.
        """
        ...
