"""Waits that outlast a cancellation: what was begun is over when its caller goes on."""

import asyncio
from typing import TypeVar

import anyio

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
