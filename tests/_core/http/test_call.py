"""Phases of a call: all time that passes in a call is counted in the phase in which it passed."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import ClientConfig, RetryPolicy, SpotBillingClient, TransportError
from spot_billing_async._core.auth.credentials import TokenProvider
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.pagination import Page, Paginator
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import CallEnded, Event, RequestEnded
from tests.support import Handler, serve

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'


START_S = float(int(time.monotonic()))  # whole seconds add up exactly


class Clock:
    """A clock that stands still until a test moves it."""

    now_s = START_S

    def __call__(self) -> float:
        """Return the reading in seconds."""
        return self.now_s


class Watched:
    """A client's hook, and the clock that the client reads."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.request_ended = asyncio.Event()
        self.calls: list[CallEnded] = []

    def hook(self, event: Event) -> None:
        """Record an event."""
        if isinstance(event, RequestEnded):
            self.request_ended.set()
        elif isinstance(event, CallEnded):
            self.calls.append(event)

    def client(self, base_url: str, token: str | TokenProvider = "") -> SpotBillingClient:
        """Return a client that reads the clock and reports to the hook."""
        config = ClientConfig(deadline_s=7200, retry=RetryPolicy(max_attempts=2))
        client = SpotBillingClient(token or "t", base_url=base_url, config=config, hook=self.hook)
        client._shared.clock = self.clock
        return client

    def spent(self) -> dict[str, float]:
        """Return the phases of the only call that took time; together they are all of its time."""
        (ended,) = self.calls
        assert ended.phases.total_s == ended.elapsed_s == self.clock.now_s - Clock.now_s
        names = ended.phases.__struct_fields__
        return {name: took for name in names if (took := getattr(ended.phases, name))}


def answering(**answer: Any) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(**answer)

    return handler


async def test_making_a_decoder_is_part_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call for an item type makes its decoder, and the time counts as decoding."""
    watched = Watched()

    def slow_reader_for(item_type: type, *, totalled: bool) -> Any:
        watched.clock.now_s += 5
        return decoder_for(item_type, totalled=totalled)

    monkeypatch.setattr("spot_billing_async._core.http.call.decoder_for", slow_reader_for)
    async with serve(answering(body=GOOD)) as base_url, watched.client(base_url) as client:
        await client.costs.get("a")
    assert watched.spent() == {"decode_s": 5}


async def test_joining_pages_is_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that adding a page to the earlier ones takes counts as decoding."""
    watched = Watched()

    class SlowPaginator(Paginator[Any]):
        def add(self, page: Page[Any]) -> Answer[Any] | None:
            watched.clock.now_s += 5
            return super().add(page)

    monkeypatch.setattr("spot_billing_async._core.http.call.Paginator", SlowPaginator)
    async with serve(answering(body=GOOD)) as base_url, watched.client(base_url) as client:
        await client.costs.get("a")
    assert watched.spent() == {"decode_s": 5}


async def test_a_call_of_its_own_adds_nothing_up() -> None:
    """Amounts whose sum would be rounded are returned by a call, which sums none."""
    items = b'{"cost":1e150,"currency":"USD"},{"cost":1e-150,"currency":"USD"}'
    body = b'{"response":{"items":[%s],"count":2}}' % items
    async with (
        serve(answering(body=body)) as base_url,
        SpotBillingClient("t", base_url=base_url) as client,
    ):
        assert len(await client.costs.get("a")) == 2


async def test_waiting_for_a_failing_provider_is_queueing() -> None:
    """Time that a failing token provider takes counts as queueing, because nothing was sent."""
    watched = Watched()

    async def provider() -> str:
        if watched.clock.now_s == Clock.now_s:
            watched.clock.now_s += 7
            raise OSError("vault is down")
        return "t"

    async with (
        serve(answering(body=GOOD)) as base_url,
        watched.client(base_url, provider) as client,
    ):
        await client.costs.get("a")
    assert watched.spent() == {"queued_s": 7}


async def test_a_body_that_breaks_off_took_the_time_of_a_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time until a body breaks off counts as reading the body."""
    watched = Watched()

    async def broken_off(*_: object) -> bytes:
        watched.clock.now_s += 3
        raise OSError("reset")

    monkeypatch.setattr("spot_billing_async._core.http.transport._read", broken_off)
    async with serve(answering(body=GOOD)) as base_url, watched.client(base_url) as client:
        with pytest.raises(TransportError):
            await client.families.create(name="f")
    assert watched.spent() == {"body_s": 3}


async def test_a_cancelled_back_off_counts() -> None:
    """Time in a back-off that is cancelled counts as back-off."""
    watched = Watched()
    sick = answering(status=503, headers={"Retry-After": "3600"})
    async with serve(sick) as base_url, watched.client(base_url) as client:
        call = asyncio.create_task(client.costs.get("a"))
        await watched.request_ended.wait()
        watched.clock.now_s += 11
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert watched.spent() == {"backoff_s": 11}
