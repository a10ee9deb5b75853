"""Blocking work in a thread, which is over when its caller goes on."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio.to_thread import run_sync

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def finished(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Do work in a thread, to its end even where the task is cancelled meanwhile.

    A commit that went on behind the back of who cancelled it would meet the next one.
    """
    doing = asyncio.ensure_future(run_sync(work, *args))
    cancelled: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return doing.result()
