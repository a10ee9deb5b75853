"""What the lines before a server learn of it."""

import asyncio
import time
from math import inf
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import ClientConfig, RetryPolicy, ServerError, SpotBillingClient
from spot_billing_async.admission import Admission
from spot_billing_async.concurrency import ConcurrencyLimit
from spot_billing_async.pacing import Gate
from spot_billing_async.telemetry import CallEnded, Event
from tests.support import serve

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'


async def test_only_the_wait_for_a_good_answer_tells_how_busy_a_server_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error comes at once, and a body may trickle: neither is the time that work takes."""
    waits: list[float | None] = []
    answered = Admission.answered

    def noting(self: Admission, *args: Any, **told: Any) -> None:
        waits.append(told["waited_s"])
        answered(self, *args, **told)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.query["accountId"] == "sick":
            return web.Response(status=500)
        answer = web.StreamResponse(headers={"Content-Length": str(len(GOOD))})
        await answer.prepare(request)
        for place in range(len(GOOD)):
            await answer.write(GOOD[place : place + 1])
            await asyncio.sleep(0)
        return answer

    monkeypatch.setattr(Admission, "answered", noting)
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
    assert waits == [None, trickled.phases.first_byte_s]
    assert trickled.phases.body_s > 0


async def test_a_call_cancelled_as_it_is_let_through_gives_its_place_back() -> None:
    """Between its turn and its waking up lies a turn of the loop, in which it may be cancelled."""
    limit, gate = ConcurrencyLimit(1), Gate()
    admission = Admission(limit, time.monotonic)
    first = admission.start(gate)
    waiting = [asyncio.create_task(admission.wait(gate, inf, again=False)) for _ in range(2)]
    await asyncio.sleep(0)
    admission.dropped(gate, first, sent=False)
    waiting[0].cancel()
    ticket = await waiting[1]
    assert waiting[0].cancelled()
    admission.dropped(gate, ticket, sent=False)
    assert (limit.under_way, admission.is_open(gate)) == (0, True)
