"""Blocking work in a thread, which is over when its caller goes on."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio.to_thread import run_sync

from spot_billing_async.waiting import until_done

T = TypeVar("T")
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
