"""Bounded number of requests that the server processes at once, with a bounded queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_MAX_REQUESTS_PER_SLOT = 4
"""Requests that are processed or waiting, per slot."""


class Overloaded(Exception):  # noqa: N818  a response like any other, not a failure of the server
    """The queue for a slot is full."""


class Capacity:
    """Slots for processing requests; up to three more requests per slot wait in order."""

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._max_requests = _MAX_REQUESTS_PER_SLOT * slots
        self._request_count = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a free slot and hold it inside the block; a cancelled request leaves the queue.

        Raises:
            Overloaded: the queue is full; raised without waiting.
        """
        if self._request_count >= self._max_requests:
            raise Overloaded
        self._request_count += 1
        try:
            async with self._slots:
                yield
        finally:
            self._request_count -= 1
