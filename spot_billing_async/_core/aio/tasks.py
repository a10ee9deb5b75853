"""Waits that survive a cancellation, and turns for work that blocks the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.to_thread import run_sync

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def until_done(future: "asyncio.Future[T]") -> None:
    """Wait until a future is done, however it ends; a cancellation of this task is raised then."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled


async def finished(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run `work` in a thread and wait for its end, even if this task is cancelled.

    A commit that went on after its caller was cancelled could conflict with the next one.
    """
    running = asyncio.ensure_future(run_sync(work, *args))
    try:
        await until_done(running)
    except asyncio.CancelledError:
        running.exception()  # marks it as retrieved: asyncio would log it otherwise
        raise
    return running.result()


def current_task() -> "asyncio.Task[object] | None":
    """Return the current task; None outside the tasks of asyncio, such as in a loop of trio."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_being_cancelled() -> bool:
    """Return whether a `CancelledError` in this task was meant for this task.

    Foreign code may let the cancellation of something that it awaited escape. A pull would end
    silently if that passed for the cancellation of its task.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class TurnQueue(asyncio.Lock):
    """Queue of tasks that each block the event loop for a moment; other tasks run between them.

    Without it, responses that arrive together are all decoded before the loop does anything else,
    and the rows of the first have left the CPU caches by the time they are used.
    """

    async def take(self) -> None:
        """Wait for a turn. It lasts until the task awaits something or ends."""
        await self.acquire()
        asyncio.get_running_loop().call_soon(self.release)
