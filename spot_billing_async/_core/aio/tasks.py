"""Waits that outlast a cancellation: what was begun is over when its caller goes on."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.to_thread import run_sync

T = TypeVar("T")


async def until_done(future: "asyncio.Future[T]") -> None:
    """Wait until a future is done, however often the one who waits is cancelled meanwhile.

    Raises:
        CancelledError: in the end, if it was; the future's own end is not looked at.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled


def is_being_cancelled() -> bool:
    """Whether a cancellation that this task meets is meant for it.

    Foreign code may let that of something it waited for through. Taken for the task's own, it would
    end a pull without a word.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class TurnQueue:
    """Lets one task at a time do what takes the event loop a while, and others in between.

    Answers that came together would else be decoded one after the other before anything else is
    looked at; and what was made of the first would be cold in the caches by the time it is used.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._line: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn; it lasts until the task waits for something, or is done."""
        loop = asyncio.get_running_loop()
        if self._is_taken:
            waiter = loop.create_future()
            self._line.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    self._pass_on()  # it was its turn
                raise
        self._is_taken = True
        loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._is_taken = False


Ts = TypeVarTuple("Ts")


async def finished(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Do work in a thread, to its end even where the task is cancelled meanwhile.

    A commit that went on behind the back of who cancelled it would meet the next one.
    """
    doing = asyncio.ensure_future(run_sync(work, *args))
    try:
        await until_done(doing)
    except asyncio.CancelledError:
        doing.exception()  # nobody else is going to look at it
        raise
    return doing.result()
