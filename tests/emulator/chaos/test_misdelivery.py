"""Correct responses in a wrong place, observed by clients on bare sockets."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from spot_billing_async.emulator import Emulator, Fault, FaultPlan, Latency
from spot_billing_async.emulator.chaos import misdelivery
from spot_billing_async.emulator.chaos.randomness import RandomTrace

Serve = Callable[..., AbstractAsyncContextManager[Any]]

NOWHERE = "/nowhere"
"""Path that is answered with a 404 in one step, so that the order of the answers is certain."""


class Client:
    """Client on one connection, which sends and reads in any order."""

    def __init__(
        self, server: Emulator, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._token = server.token
        self.reader = reader
        self.writer = writer

    def send(self, number: int, fields: str = "") -> None:
        """Send a request that its number tells apart."""
        head = f"GET {NOWHERE}/{number} HTTP/1.1\r\nHost: localhost\r\n"
        self.writer.write(f"{head}Authorization: Bearer {self._token}\r\n{fields}\r\n".encode())

    async def read(self) -> int:
        """Read one response, and return the number of the request that it answers."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
        _, _, after = head.partition(b"Content-Length: ")
        body = await self.reader.readexactly(int(after.partition(b"\r\n")[0]))
        return int(json.loads(body)["request"]["url"].rpartition("/")[2])


@asynccontextmanager
async def connect(server: Emulator) -> AsyncIterator[Client]:
    """Open a connection."""
    host, port = server.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(server, reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture(autouse=True)
def _silent(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    yield
    assert not caplog.records


async def test_a_duplicate_follows_at_once(serve: Serve) -> None:
    """A duplicated response is sent twice in a row, also before the connection is closed."""
    async with serve(faults="duplicate=1") as call, connect(call.server) as client:
        for number in (1, 2):
            client.send(number)
            assert [await client.read() for _ in range(2)] == [number, number]
        client.send(3, "Connection: close\r\n")
        assert [await client.read() for _ in range(2)] == [3, 3]
        assert await client.reader.read() == b""


async def test_an_idle_duplicate_follows_unasked(serve: Serve) -> None:
    """A copy comes on the idle connection, once."""
    async with serve(faults="idle-duplicate=1") as call, connect(call.server) as client:
        for number in (1, 2):
            client.send(number)
            assert [await client.read() for _ in range(2)] == [number, number]


async def test_an_idle_duplicate_is_not_mixed_into_a_response(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that arrives before the copy is due gets the copy first, then its response."""
    monkeypatch.setattr(misdelivery, "_IDLE_S", 60)
    async with serve(faults="idle-duplicate=1") as call, connect(call.server) as client:
        for number in (1, 2, 3):
            client.send(number)
        assert [await client.read() for _ in range(5)] == [1, 1, 2, 2, 3]


async def test_a_late_duplicate_comes_before_the_next_response(serve: Serve) -> None:
    """A copy waits for the next request on its own connection, and precedes its response."""
    async with serve(faults="late-duplicate=1") as call, connect(call.server) as client:
        client.send(1)
        assert await client.read() == 1
        async with connect(call.server) as other:
            other.send(7)
            assert await other.read() == 7
        client.send(2)
        assert [await client.read() for _ in range(2)] == [1, 2]
        client.send(3)
        assert [await client.read() for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("fault", ["idle-duplicate", "late-duplicate"])
async def test_a_copy_for_a_closed_connection_is_dropped(
    serve: Serve, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is due when its connection is closed is neither sent nor kept."""
    monkeypatch.setattr(misdelivery, "_IDLE_S", 0)
    async with serve(faults=f"{fault}=1") as call:
        async with connect(call.server) as client:
            client.send(1, "Connection: close\r\n")
            assert await client.read() == 1
            await client.reader.read()
        async with connect(call.server) as client:
            client.send(2)
            assert await client.read() == 2


def numbers_drawn(plan: str) -> tuple[int, int, int]:
    """Return the number of a request that gets the fault, and of two that do not."""
    trace = RandomTrace(FaultPlan.parse(plan), Latency(0), 0)
    faults = {number: trace.draw("GET", f"{NOWHERE}/{number}").fault for number in range(100)}
    hit = next(number for number, fault in faults.items() if fault is Fault.MISDIRECT)
    missed, later, *_ = (number for number, fault in faults.items() if fault is None)
    return hit, missed, later


async def test_misdirected_responses_are_swapped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misdirected response and the next one of another connection are swapped."""
    monkeypatch.setattr(misdelivery, "_PARTNER_WAIT_S", 60)
    hit, missed, later = numbers_drawn("misdirect=0.2")
    async with (
        serve(faults="misdirect=0.2") as call,
        connect(call.server) as one,
        connect(call.server) as other,
    ):
        one.send(hit)
        while not call.server.under_way:  # noqa: ASYNC110  the server has no event to wait for
            await asyncio.sleep(0)
        other.send(missed)
        assert (await one.read(), await other.read()) == (missed, hit)
        other.send(later)
        assert await other.read() == later


async def test_a_misdirected_response_without_a_partner(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that finds no partner in time is delivered where it belongs."""
    monkeypatch.setattr(misdelivery, "_PARTNER_WAIT_S", 0.01)
    async with serve(faults="misdirect=1") as call, connect(call.server) as client:
        for number in (1, 2):
            client.send(number)
            assert await client.read() == number


async def test_a_partner_that_left_is_no_partner(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response whose client left is swapped with none."""
    monkeypatch.setattr(misdelivery, "_PARTNER_WAIT_S", 60)
    hit, missed, _ = numbers_drawn("misdirect=0.2")
    async with serve(faults="misdirect=0.2") as call, connect(call.server) as other:
        async with connect(call.server) as one:
            one.send(hit)
            while not call.server.under_way:  # noqa: ASYNC110  the server has no event to wait for
                await asyncio.sleep(0)
        while call.server.under_way:  # noqa: ASYNC110  as above
            await asyncio.sleep(0)
        other.send(missed)
        assert await other.read() == missed
