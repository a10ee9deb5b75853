"""State of a client: opening and closing of its parts."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from spot_billing_async import ClientConfig, ConfigError, SpotBillingClient
from spot_billing_async._core.pacing.abc import Limiter, WaitingCalls
from spot_billing_async._core.pacing.limiter import RouteLimiter
from tests.support import serve


class Quota:
    """Shared quota that fails to open as often as told.

    Attributes:
        failures: how often opening is still to fail.
        calls: the calls of its methods, in order.
    """

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls: list[str] = []

    async def open(self, waiting_calls: WaitingCalls, clock: Callable[[], float]) -> None:  # noqa: ARG002  the protocol's
        """Fail while failures are left."""
        self.calls.append("open")
        if self.failures:
            self.failures -= 1
            raise ConfigError("quota is open already")

    async def close(self) -> None:
        """Record the call."""
        self.calls.append("close")

    def limiter(self, name: str, deadline_s: float) -> Limiter:  # noqa: ARG002  as above
        """Return a limiter of this process alone."""
        return RouteLimiter()


async def test_a_quota_that_cannot_be_opened_leaves_nothing_open() -> None:
    """Its error is raised with the connections closed; the client can be entered later."""
    quota = Quota(failures=1)
    client = SpotBillingClient("t", base_url="http://127.0.0.1:9", quota=quota)
    with pytest.raises(ConfigError, match="quota is open already"):
        await client.__aenter__()
    with pytest.raises(ConfigError, match="not open"):
        await client.costs.get("a")
    async with client:
        assert quota.calls == ["open", "open"]
    assert quota.calls == ["open", "open", "close"]


async def test_leaving_the_client_ends_calls_that_wait_for_the_quota() -> None:
    """A call that waits an hour for the server's quota ends when its client is left."""
    refused = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"X-RateLimit-Reset": "3600"})

    config = ClientConfig(deadline_s=7200.0)
    async with serve(handler) as base_url:
        async with SpotBillingClient(
            "t", base_url=base_url, config=config, hook=lambda _: refused.set()
        ) as client:
            calls = [asyncio.create_task(client.costs.get("a")) for _ in range(2)]
            await refused.wait()
        async with asyncio.timeout(60):
            done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in done] == [ConfigError, ConfigError]
