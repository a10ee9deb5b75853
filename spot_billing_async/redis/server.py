"""Parts of the quota and the store: masked URL, time limits, and the server's availability."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterCrossSlotError, ClusterDownError, ResponseError

from spot_billing_async._core.auth.secret import Secret, masked
from spot_billing_async.errors import ConfigError

_log = logging.getLogger("spot_billing_async")

_NO_CLUSTER = "a Redis Cluster is not supported, use a server that is not in cluster mode"


def masked_url(url: Secret) -> str:
    """Return the URL of a Redis server with its credentials masked.

    Raises:
        ConfigError: it is not a Redis URL. The value is not shown, as it may hold a password.
    """
    parts = masked(url, {"redis", "rediss"})
    database = "" if parts is None else parts.path.removeprefix("/")
    if parts is None or (database and not database.isdecimal()):
        raise ConfigError(
            "url must be redis://[user:password@]host[:port][/database number], or rediss:// for"
            " TLS; the value is not shown, as it may hold a password"
        )
    return parts.geturl()


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Limit the time of a block that waits for Redis.

    The event loop runs a due timer before the task whose response has arrived. If other code
    blocked the loop, the response would count as late. Two timers of half the time, one set by the
    other, let the loop deliver it first.

    Raises:
        TimeoutError: the block did not end in time.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        half = loop.call_later(seconds / 2, lambda: limit.reschedule(loop.time() + seconds / 2))
        try:
            yield
        finally:
            half.cancel()


async def refuse_cluster(redis: Redis, user: str, timeout_s: float) -> None:
    """Raise if a server is a node of a Redis Cluster.

    The keys of one command or script would be in several slots, which a cluster rejects.

    Raises:
        ConfigError: it is one.
        Exception: any other, if the server cannot be used.
    """
    async with time_limit(timeout_s):
        with suppress(ResponseError, KeyError):  # the user may not ask, or the server cannot tell
            if (await redis.info("cluster"))["cluster_enabled"] == 1:
                raise ConfigError(f"{user}: {_NO_CLUSTER}")


class Availability:
    """Availability of a Redis server; each change is logged once, as a warning.

    A server that responds may still refuse to store anything, as a replica does, or without memory.
    It is available again only when it has stored something.

    Args:
        user: the object that uses the server, with the masked URL.
        when_down: log text for what happens without the server.
        when_up: log text for what happens with it.

    Attributes:
        is_up: None until something was stored or failed.
    """

    def __init__(self, user: str, *, when_down: str, when_up: str) -> None:
        self.is_up: bool | None = None
        self._user = user
        self._when_down = when_down
        self._when_up = when_up

    def mark_up(self) -> None:
        """Record that the server has stored something."""
        if self.is_up is False:
            _log.warning("%s is available again: %s", self._user, self._when_up)
        self.is_up = True

    def mark_down(self, error: BaseException) -> None:
        """Record a failure. Only the error's class is logged: servers quote what they were sent."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if self.is_up is not False:
            reason = type(error).__name__
            if isinstance(error, AskError | ClusterCrossSlotError | ClusterDownError):
                reason += f": {_NO_CLUSTER}"
            _log.warning("%s is unavailable (%s): %s", self._user, reason, self._when_down)
        self.is_up = False
