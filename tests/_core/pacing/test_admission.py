"""What the lines before a server learn of it."""

import asyncio
import time
from math import inf
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import ClientConfig, RetryPolicy, ServerError, SpotBillingClient
from spot_billing_async._core.pacing.admission import Admission
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.telemetry import CallEnded, Event
from tests.support import serve

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'


async def test_only_the_wait_for_a_good_answer_tells_how_busy_a_server_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error comes at once, and a body may trickle: neither is the time that work takes."""
    waits: list[float | None] = []
    on_response = Admission.on_response

    def noting(self: Admission, *args: Any, **told: Any) -> None:
        waits.append(told["waited_s"])
        on_response(self, *args, **told)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.query["accountId"] == "sick":
            return web.Response(status=500)
        answer = web.StreamResponse(headers={"Content-Length": str(len(GOOD))})
        await answer.prepare(request)
        for place in range(len(GOOD)):
            await answer.write(GOOD[place : place + 1])
            await asyncio.sleep(0)
        return answer

    monkeypatch.setattr(Admission, "on_response", noting)
    events: list[Event] = []
    config = ClientConfig(retry=RetryPolicy(max_attempts=1))
    async with (
        serve(handler) as base_url,
        SpotBillingClient("t", base_url=base_url, config=config, hook=events.append) as client,
    ):
        with pytest.raises(ServerError):
            await client.costs.get("sick")
        await client.costs.get("trickling")
    trickled = events[-1]
    assert isinstance(trickled, CallEnded)
    assert waits[0] is None
    assert waits[1] is not None
    spent = trickled.phases
    assert 0 < waits[1] < spent.connect_s + spent.first_byte_s + spent.body_s
    assert spent.body_s > 0


async def test_a_call_cancelled_as_it_is_let_through_gives_its_place_back() -> None:
    """Between its turn and its waking up lies a turn of the loop, in which it may be cancelled."""
    limit, limiter = ConcurrencyLimit(1), RouteLimiter()
    admission = Admission(limit, time.monotonic)
    first = admission.start(limiter)
    waiting = [asyncio.create_task(admission.wait(limiter, inf, again=False)) for _ in range(2)]
    await asyncio.sleep(0)
    admission.on_lost(limiter, first, sent=False)
    waiting[0].cancel()
    permit = await waiting[1]
    assert waiting[0].cancelled()
    admission.on_lost(limiter, permit, sent=False)
    assert (limit.in_flight, admission.is_open(limiter)) == (0, True)


@pytest.mark.parametrize("places", [1, 64])
async def test_an_answer_does_not_look_at_all_who_wait(
    places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of tenants that wait for their quota cost the calls of another one nothing."""
    admission = Admission(ConcurrencyLimit(places), time.monotonic)
    waiting = []
    for _ in range(300):
        limiter = RouteLimiter()
        limiter.on_rejected(limiter.start(0.0), time.monotonic(), Quota(), 600.0)
        waiting.append(asyncio.create_task(admission.wait(limiter, inf, again=False)))
    await asyncio.sleep(0)
    looks: list[RouteLimiter] = []
    wait_s = RouteLimiter.wait_s

    def noting(self: RouteLimiter, now_s: float) -> float:
        looks.append(self)
        return wait_s(self, now_s)

    monkeypatch.setattr(RouteLimiter, "wait_s", noting)
    mine = RouteLimiter()
    for _ in range(10):
        permit = admission.start(mine)
        admission.on_response(mine, permit, Quota(), waited_s=0.01)
    assert len(looks) < 300
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_place_that_was_short_goes_to_whoever_waits_for_it() -> None:
    """Whatever gate the call was of that gives it back."""
    limit, one, other = ConcurrencyLimit(1), RouteLimiter(), RouteLimiter()
    admission = Admission(limit, time.monotonic)
    held = admission.start(one)
    waiting = asyncio.create_task(admission.wait(other, inf, again=False))
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.on_response(one, held, Quota(), waited_s=0.01)
    admission.on_lost(other, await waiting, sent=False)
    assert limit.in_flight == 0


async def test_who_has_no_place_to_get_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of tenants wait for one place: news of each, and each place, cost one look or so."""
    limit = ConcurrencyLimit(1)
    admission = Admission(limit, time.monotonic)
    limiters = [RouteLimiter() for _ in range(300)]
    held = admission.start(limiters[0])
    waiting = [
        asyncio.create_task(admission.wait(limiter, inf, again=False)) for limiter in limiters
    ]
    await asyncio.sleep(0)
    looks: list[RouteLimiter] = []
    wait_s = RouteLimiter.wait_s

    def noting(self: RouteLimiter, now_s: float) -> float:
        looks.append(self)
        return wait_s(self, now_s)

    monkeypatch.setattr(RouteLimiter, "wait_s", noting)
    for limiter in limiters:
        admission.recheck(limiter)
    admission.on_lost(limiters[0], held, sent=False)
    for limiter, task in zip(limiters, waiting, strict=True):
        admission.on_lost(limiter, await task, sent=False)
    assert len(looks) < 4 * len(limiters)
    assert limit.in_flight == 0
