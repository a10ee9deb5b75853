"""Admission: queues of waiting calls, and what they learn from responses."""

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
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.telemetry import CallEnded, Event
from tests.support import serve

BODY = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'


async def test_only_successful_responses_measure_the_servers_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors come at once and bodies may arrive slowly: neither time reflects the server's work."""
    waits: list[float | None] = []
    on_response = Admission.on_response

    def record(self: Admission, *args: Any, **kwargs: Any) -> None:
        waits.append(kwargs["waited_s"])
        on_response(self, *args, **kwargs)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.query["accountId"] == "failing":
            return web.Response(status=500)
        response = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
        await response.prepare(request)
        for position in range(len(BODY)):
            await response.write(BODY[position : position + 1])
            await asyncio.sleep(0)
        return response

    monkeypatch.setattr(Admission, "on_response", record)
    events: list[Event] = []
    config = ClientConfig(retry=RetryPolicy(max_attempts=1))
    async with (
        serve(handler) as base_url,
        SpotBillingClient("t", base_url=base_url, config=config, hook=events.append) as client,
    ):
        with pytest.raises(ServerError):
            await client.costs.get("failing")
        await client.costs.get("slow")
    slow = events[-1]
    assert isinstance(slow, CallEnded)
    assert waits[0] is None
    assert waits[1] is not None
    phases = slow.phases
    assert 0 < waits[1] < phases.connect_s + phases.first_byte_s + phases.body_s
    assert phases.body_s > 0


def started(admission: Admission, limiter: RouteLimiter) -> Permit:
    permit = admission.try_start(limiter)
    assert permit is not None
    return permit


async def test_a_call_cancelled_at_its_admission_returns_its_permit() -> None:
    """A call may be cancelled in the loop iteration between its admission and its resumption."""
    limit, limiter = ConcurrencyLimit(1), RouteLimiter()
    admission = Admission(limit, time.monotonic)
    first = started(admission, limiter)
    waiting = [asyncio.create_task(admission.wait(limiter, inf, again=False)) for _ in range(2)]
    await asyncio.sleep(0)
    admission.on_lost(limiter, first, sent=False)
    waiting[0].cancel()
    permit = await waiting[1]
    assert waiting[0].cancelled()
    admission.on_lost(limiter, permit, sent=False)
    assert limit.in_flight == 0
    assert admission.try_start(limiter) is not None


@pytest.mark.parametrize("slots", [1, 64])
async def test_a_response_does_not_check_all_queues(
    slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of tenants that wait for their quota do not slow another tenant's calls."""
    admission = Admission(ConcurrencyLimit(slots), time.monotonic)
    waiting = []
    for _ in range(300):
        limiter = RouteLimiter()
        limiter.on_rejected(limiter.start(0.0), time.monotonic(), Quota(), 600.0)
        waiting.append(asyncio.create_task(admission.wait(limiter, inf, again=False)))
    await asyncio.sleep(0)
    checks: list[RouteLimiter] = []
    wait_s = RouteLimiter.wait_s

    def record(self: RouteLimiter, now_s: float) -> float:
        checks.append(self)
        return wait_s(self, now_s)

    monkeypatch.setattr(RouteLimiter, "wait_s", record)
    mine = RouteLimiter()
    for _ in range(10):
        permit = started(admission, mine)
        admission.on_response(mine, permit, Quota(), waited_s=0.01)
    assert len(checks) < 300
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_freed_slot_goes_to_any_waiting_call() -> None:
    """A slot freed by one limiter's request serves a call of another limiter."""
    limit, one, other = ConcurrencyLimit(1), RouteLimiter(), RouteLimiter()
    admission = Admission(limit, time.monotonic)
    held = started(admission, one)
    waiting = asyncio.create_task(admission.wait(other, inf, again=False))
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.on_response(one, held, Quota(), waited_s=0.01)
    admission.on_lost(other, await waiting, sent=False)
    assert limit.in_flight == 0


async def test_no_queue_is_checked_without_a_free_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many tenants and one slot, each event and each freed slot cost about one check."""
    limit = ConcurrencyLimit(1)
    admission = Admission(limit, time.monotonic)
    limiters = [RouteLimiter() for _ in range(300)]
    held = started(admission, limiters[0])
    waiting = [
        asyncio.create_task(admission.wait(limiter, inf, again=False)) for limiter in limiters
    ]
    await asyncio.sleep(0)
    checks: list[RouteLimiter] = []
    wait_s = RouteLimiter.wait_s

    def record(self: RouteLimiter, now_s: float) -> float:
        checks.append(self)
        return wait_s(self, now_s)

    monkeypatch.setattr(RouteLimiter, "wait_s", record)
    for limiter in limiters:
        admission.recheck(limiter)
    admission.on_lost(limiters[0], held, sent=False)
    for limiter, task in zip(limiters, waiting, strict=True):
        admission.on_lost(limiter, await task, sent=False)
    assert len(checks) < 4 * len(limiters)
    assert limit.in_flight == 0
