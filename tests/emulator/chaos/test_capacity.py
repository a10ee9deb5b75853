"""How many requests are worked on at once, wait, and are refused."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from spot_billing_async.emulator.chaos.capacity import Capacity, Overloaded

Serve = Callable[..., AbstractAsyncContextManager[Any]]

FAMILY = "/billingEngine/family"


async def hold(capacity: Capacity, name: int, begun: list[int], end: asyncio.Event) -> None:
    async with capacity.place():
        begun.append(name)
        await end.wait()


async def settled() -> None:
    """Let all tasks go on until none can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_wait_in_order_up_to_an_end() -> None:
    """As many as there are places begin, three times as many wait, the next is refused at once."""
    capacity, begun, end = Capacity(2), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(hold(capacity, name, begun, end)) for name in range(8)]
    await settled()
    assert begun == [0, 1]
    with pytest.raises(Overloaded):
        await hold(capacity, 8, begun, end)
    end.set()
    await asyncio.gather(*tasks)
    assert begun == [*range(8)]


async def test_who_leaves_makes_room() -> None:
    """Whether it waited or was worked on, another may come, and those behind move up."""
    capacity, begun, end = Capacity(1), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(hold(capacity, name, begun, end)) for name in range(4)]
    await settled()
    for gone in (0, 2):
        tasks[gone].cancel()
    await settled()
    assert begun == [0, 1]
    late = [asyncio.create_task(hold(capacity, name, begun, end)) for name in (4, 5)]
    await settled()
    with pytest.raises(Overloaded):
        await hold(capacity, 6, begun, end)
    end.set()
    await asyncio.gather(*tasks, *late, return_exceptions=True)
    assert begun == [0, 1, 3, 4, 5]


async def test_too_many_requests_get_a_503(serve: Serve) -> None:
    """In the envelope, while the others wait; those whose client leaves are gone at once."""
    async with serve(capacity=1, latency="60s") as call:
        before = asyncio.all_tasks()
        waiting = [asyncio.create_task(call("GET", FAMILY)) for _ in range(4)]
        while call.server.requests < 4:  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0)
        refused = await call("GET", FAMILY, headers={"Connection": "close"})
        assert refused.status == 503
        assert refused.body["response"]["errors"][0]["code"] == "ServiceUnavailable"
        for task in waiting:
            task.cancel()
        while asyncio.all_tasks() > before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
