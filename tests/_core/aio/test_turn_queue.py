"""Turns for work that blocks the event loop."""

import asyncio

import pytest

from spot_billing_async._core.aio.tasks import TurnQueue


async def test_the_loop_comes_between_two_turns() -> None:
    """Tasks that are ready together take turns in order, and the loop runs in between."""
    turns, order = TurnQueue(), list[object]()

    async def work(number: int) -> None:
        await turns.take()
        order.append(number)
        asyncio.get_running_loop().call_soon(order.append, "loop")

    await asyncio.gather(*map(work, range(3)))
    await asyncio.sleep(0)
    assert order == [0, "loop", 1, "loop", 2, "loop"]


async def test_a_turn_alone_is_taken_at_once() -> None:
    """A task that is alone does not wait, the next time neither."""
    turns = TurnQueue()
    for _ in range(2):
        with pytest.raises(StopIteration):
            turns.take().send(None)
        await asyncio.sleep(0)


@pytest.mark.parametrize("leaves_on_its_turn", [False, True])
async def test_a_cancelled_task_passes_the_turn_on(leaves_on_its_turn: bool) -> None:
    """A cancelled task passes its turn on, whether it was waiting or had just been given it."""
    turns, order = TurnQueue(), list[int]()

    async def work(number: int) -> None:
        await turns.take()
        order.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(3)]
    await asyncio.sleep(0)
    if leaves_on_its_turn:
        asyncio.get_running_loop().call_soon(tasks[1].cancel)  # after the turn was passed on to it
    else:
        tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (order, tasks[1].cancelled()) == ([0, 2], True)
