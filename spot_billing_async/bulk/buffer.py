"""Where the crew of a pull hands its outcomes to the one who iterates: bounded, in a set order.

Each outcome has a place in line, counted from 0: ordered, its index in the plan; unordered, its
number in the order of arrival. The reader takes place after place. A worker whose place is
`capacity` or more ahead of the reader waits, so a slow reader slows the crew down, and what is kept
stays bounded even where the first slice of many is the slowest.
"""

from asyncio import Event
from typing import Generic, TypeVar

T = TypeVar("T")


class OutcomeBuffer(Generic[T]):
    """A bounded meeting place of many producers and a reader."""

    def __init__(self, capacity: int, *, ordered: bool) -> None:
        self._capacity = capacity
        self._ordered = ordered
        self._due = 0
        self._arrivals = 0
        self._ready: dict[int, T] = {}
        self._full: dict[int, Event] = {}
        self._news = Event()
        self._closed = False

    async def put(self, index: int, value: T) -> None:
        """Hand over the outcome of the slice at `index`, waiting while there is no room for it."""
        place = index if self._ordered else self._arrivals
        self._arrivals += 1
        if place >= self._due + self._capacity:
            room = self._full[place] = Event()
            await room.wait()
        self._ready[place] = value
        if place == self._due:
            self._wake()

    async def get(self) -> T:
        """The outcome that is due.

        Raises:
            StopAsyncIteration: it was closed, and everything was handed over.
        """
        while self._due not in self._ready:
            if self._closed:
                raise StopAsyncIteration
            await self._news.wait()
        value = self._ready.pop(self._due)
        room = self._full.pop(self._due + self._capacity, None)
        self._due += 1
        if room is not None:
            room.set()
        return value

    def close(self) -> None:
        """Nothing more will be put."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news.clear()
