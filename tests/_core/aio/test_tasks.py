"""Waits that survive a cancellation."""

import asyncio
import threading

import pytest

from spot_billing_async._core.aio.tasks import finished, until_done


async def test_a_wait_outlasts_every_cancellation() -> None:
    """A wait ends when the future is done, and raises the cancellation only then."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(until_done(future))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
    future.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("fails", [False, True])
async def test_work_in_a_thread_is_over_when_its_caller_goes_on(fails: bool) -> None:
    """Work in a thread has ended when its caller continues, even after a cancellation."""
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(10)
        ended.set()
        if fails:
            raise ValueError

    task = asyncio.create_task(finished(work))
    await asyncio.to_thread(began.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_work_in_a_thread_has_a_result_or_an_error() -> None:
    """Work in a thread returns its result or raises its error."""
    assert await finished(max, 1, 2) == 2
    with pytest.raises(ValueError, match="invalid literal"):
        await finished(int, "x")
