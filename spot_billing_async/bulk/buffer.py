"""Bounded buffer between the workers of a pull and the caller that iterates its outcomes."""

from asyncio import Event
from typing import Generic, TypeVar

T = TypeVar("T")


class OutcomeBuffer(Generic[T]):
    """Bounded buffer with many producers.

    Each value has a position: its index if `ordered`, otherwise its rank in the order of arrival.
    Readers take one position after the other. A producer whose position is `capacity` or more ahead
    waits, so memory stays bounded even if the first slice of a plan is the slowest of all.
    """

    def __init__(self, capacity: int, *, ordered: bool) -> None:
        self._capacity = capacity
        self._ordered = ordered
        self._next_position = 0
        self._put_count = 0
        self._values: dict[int, T] = {}
        self._waiting_for_room: dict[int, Event] = {}
        self._next_is_ready = Event()
        self._closed = False

    async def put(self, index: int, value: T) -> None:
        """Add the value with this index; wait while its position is beyond the capacity."""
        position = index if self._ordered else self._put_count
        self._put_count += 1
        if position >= self._next_position + self._capacity:
            room = self._waiting_for_room[position] = Event()
            await room.wait()
        self._values[position] = value
        if position == self._next_position:
            self._next_is_ready.set()
            self._next_is_ready.clear()

    async def get(self) -> T:
        """Wait for the next value and take it; raise `StopAsyncIteration` if there will be none."""
        # Of several readers that wake up, one takes the value and the others wait again.
        while self._next_position not in self._values:
            if self._closed:
                raise StopAsyncIteration
            await self._next_is_ready.wait()
        value = self._values.pop(self._next_position)
        room = self._waiting_for_room.pop(self._next_position + self._capacity, None)
        self._next_position += 1
        if room is not None:
            room.set()
        return value

    def close(self) -> None:
        """End the buffer: readers that wait for a further value get `StopAsyncIteration`."""
        self._closed = True
        self._next_is_ready.set()
        self._next_is_ready.clear()
