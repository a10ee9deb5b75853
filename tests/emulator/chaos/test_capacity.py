"""Capacity: requests that are processed at once, that wait, and that are refused."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from spot_billing_async.emulator.chaos.capacity import Capacity, Overloaded

Serve = Callable[..., AbstractAsyncContextManager[Any]]

FAMILY = "/billingEngine/family"


async def hold_slot(
    capacity: Capacity, number: int, started: list[int], end: asyncio.Event
) -> None:
    async with capacity.slot():
        started.append(number)
        await end.wait()


async def settle() -> None:
    """Run all tasks until each of them waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_wait_in_order_in_a_bounded_queue() -> None:
    """Requests wait in order for a slot, three per slot; one more is refused at once."""
    capacity, started, end = Capacity(2), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(hold_slot(capacity, number, started, end)) for number in range(8)]
    await settle()
    assert started == [0, 1]
    with pytest.raises(Overloaded):
        await hold_slot(capacity, 8, started, end)
    end.set()
    await asyncio.gather(*tasks)
    assert started == [*range(8)]


async def test_a_cancelled_request_frees_its_place() -> None:
    """A cancelled request, processed or waiting, frees its slot or its place in the queue."""
    capacity, started, end = Capacity(1), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(hold_slot(capacity, number, started, end)) for number in range(4)]
    await settle()
    for cancelled in (0, 2):
        tasks[cancelled].cancel()
    await settle()
    assert started == [0, 1]
    late = [asyncio.create_task(hold_slot(capacity, number, started, end)) for number in (4, 5)]
    await settle()
    with pytest.raises(Overloaded):
        await hold_slot(capacity, 6, started, end)
    end.set()
    await asyncio.gather(*tasks, *late, return_exceptions=True)
    assert started == [0, 1, 3, 4, 5]


async def test_too_many_requests_get_a_503(serve: Serve) -> None:
    """A full queue is answered with a 503; requests whose clients disconnect leave it at once."""
    async with serve(capacity=1, latency="60s") as call:
        tasks_before = asyncio.all_tasks()
        waiting = [asyncio.create_task(call("GET", FAMILY)) for _ in range(4)]
        while call.server.requests < 4:  # noqa: ASYNC110  the server has no event to wait for
            await asyncio.sleep(0)
        refused = await call("GET", FAMILY, headers={"Connection": "close"})
        assert refused.status == 503
        assert refused.body["response"]["errors"][0]["code"] == "ServiceUnavailable"
        for task in waiting:
            task.cancel()
        while asyncio.all_tasks() > tasks_before:  # noqa: ASYNC110  as above
            await asyncio.sleep(0)
