"""Bounded buffer of outcomes."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.bulk.buffer import OutcomeBuffer


async def settle() -> None:
    """Wait until every other task is blocked."""
    await anyio.wait_all_tasks_blocked()


@given(st.permutations(range(12)), st.integers(1, 4), st.booleans())
def test_everything_arrives_once_and_in_order(
    completed: list[int], capacity: int, ordered: bool
) -> None:
    """Each value is delivered once; with `ordered`, by index instead of in order of completion."""

    async def main() -> list[int]:
        buffer: OutcomeBuffer[int] = OutcomeBuffer(capacity, ordered=ordered)
        got: list[int] = []

        async def produce() -> None:
            async with anyio.create_task_group() as producers:
                for index in completed:
                    producers.start_soon(buffer.put, index, index)
            buffer.close()

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            try:
                while True:
                    got.append(await buffer.get())
            except StopAsyncIteration:
                pass
        return got

    got = anyio.run(main)
    assert sorted(got) == list(range(12))
    if ordered:
        assert got == sorted(got)


@pytest.mark.parametrize("ordered", [False, True])
async def test_no_more_than_capacity_is_kept(ordered: bool) -> None:
    """A producer that finds the buffer full waits until the reader has taken a value."""
    buffer: OutcomeBuffer[int] = OutcomeBuffer(2, ordered=ordered)
    done: list[int] = []

    async def put(index: int) -> None:
        await buffer.put(index, index)
        done.append(index)

    async with anyio.create_task_group() as group:
        for index in range(4):
            group.start_soon(put, index)
        await settle()
        assert done == [0, 1]
        assert await buffer.get() == 0
        await settle()
        assert done == [0, 1, 2]
        assert await buffer.get() == 1
        await settle()
        assert done == [0, 1, 2, 3]


async def test_the_next_value_never_waits() -> None:
    """With `ordered`, a buffer full of later values still accepts the next one."""
    buffer: OutcomeBuffer[str] = OutcomeBuffer(2, ordered=True)
    async with anyio.create_task_group() as group:
        for index in (3, 2, 1):
            group.start_soon(buffer.put, index, str(index))
        await settle()
        await buffer.put(0, "0")
        assert [await buffer.get() for _ in range(4)] == ["0", "1", "2", "3"]


async def test_a_reader_that_gives_up_waiting_loses_nothing() -> None:
    """A cancelled `get` leaves the value for the next call."""
    buffer: OutcomeBuffer[int] = OutcomeBuffer(1, ordered=False)
    with anyio.move_on_after(0):
        await buffer.get()
    await buffer.put(0, 7)
    assert await buffer.get() == 7


async def test_two_readers_share_the_values() -> None:
    """Each value goes to one of two readers, and closing the buffer ends both."""
    buffer: OutcomeBuffer[int] = OutcomeBuffer(1, ordered=False)
    got: list[int] = []

    async def read() -> None:
        try:
            while True:
                got.append(await buffer.get())
        except StopAsyncIteration:
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(read)
        for index in range(5):
            await buffer.put(index, index)
            await settle()
        buffer.close()
    assert got == [0, 1, 2, 3, 4]
