"""How much a server can work on at once, and how many may wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_MOST_PER_PLACE = 4
"""Requests in the system, worked on or waiting, for each that is worked on at once."""


class Overloaded(Exception):  # noqa: N818 - an answer like any other, not a failure of the server
    """As many requests as may wait are waiting."""


class Capacity:
    """Places to work on requests; those beyond wait in order, up to three for each place."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._most = _MOST_PER_PLACE * places
        self._inside = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place within the block, once one is free; whoever is cancelled waits no more.

        Raises:
            Overloaded: too many are waiting; at once.
        """
        if self._inside >= self._most:
            raise Overloaded
        self._inside += 1
        try:
            async with self._places:
                yield
        finally:
            self._inside -= 1
