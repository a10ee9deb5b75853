"""Kept connections that the server closes as the next request arrives."""

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot_billing_async import (
    ApiError,
    ClientConfig,
    ConfigError,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
    TransportError,
)
from spot_billing_async._core.http import connections
from tests.support import http, serve_streams

DAY = date(2025, 1, 1)
GOOD = http(b'{"response":{"items":[],"count":0}}')
ONCE = RetryPolicy(max_attempts=1, budget_share=0, budget_reserve=0)
Ending = Callable[[asyncio.StreamWriter], None]


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def late(status: str) -> Ending:
    def end(writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"<html>", "Connection: close", status=status))
        writer.close()

    return end


class Reaper:
    """Server that answers some requests of each connection, and ends it in place of the next.

    Attributes:
        heads: heads of the requests.
        connections: connections accepted so far.
    """

    def __init__(self, end: Ending, answers: int = 1) -> None:
        self._end = end
        self._answers = answers
        self.heads: list[bytes] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        for _ in range(self._answers):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(GOOD)
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        self._end(writer)


@asynccontextmanager
async def client_of(
    server: Any, *, over_a_session: bool = False, **options: Any
) -> AsyncIterator[SpotBillingClient]:
    config = ClientConfig(**{"retry": ONCE, **options})
    async with (
        serve_streams(server.handle) as port,
        aiohttp.ClientSession() as session,
        SpotBillingClient(
            "t",
            base_url=f"http://127.0.0.1:{port}",
            config=config,
            session=session if over_a_session else None,
        ) as client,
    ):
        yield client


ENDINGS = [close, reset, late("408 Request Time-out"), late("425 Too Early")]


@pytest.mark.parametrize("over_a_session", [False, True])
@pytest.mark.parametrize("end", ENDINGS, ids=["close", "reset", "408", "425"])
async def test_a_reaped_connection_costs_no_attempt(end: Ending, over_a_session: bool) -> None:
    """Without any retry, every call succeeds over a server that ends kept connections."""
    server = Reaper(end)
    async with client_of(server, over_a_session=over_a_session) as client:
        for _ in range(20):
            assert await client.costs.get("a", DAY, DAY) == []


async def test_a_pool_of_reaped_connections_costs_one_request_each() -> None:
    """After one dead connection, a call takes a new one: its neighbours may be as dead."""
    server = Reaper(close)
    async with client_of(server) as client:
        for _ in range(2):
            await asyncio.gather(*(client.costs.get(f"a{n}", DAY, DAY) for n in range(8)))
    assert len(server.heads) <= 3 * 8


@pytest.mark.parametrize("over_a_session", [False, True])
@pytest.mark.parametrize("end", ENDINGS, ids=["close", "reset", "408", "425"])
async def test_a_server_that_ends_every_connection_is_a_failure(
    end: Ending, over_a_session: bool
) -> None:
    """The end of a new connection is an ordinary failure, with ordinary retries."""
    server = Reaper(end, answers=0)
    retry = RetryPolicy(max_attempts=3, backoff_base_s=0.001)
    async with client_of(server, over_a_session=over_a_session, retry=retry) as client:
        with pytest.raises(SpotBillingError) as caught:
            await client.costs.get("a", DAY, DAY)
    assert isinstance(caught.value, TransportError | ApiError)
    assert caught.value.attempts == 3
    assert len(server.heads) <= 6  # aiohttp repeats each once in a session of the caller's


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.booleans())
@settings(max_examples=30, deadline=None)
def test_requests_are_bounded_by_the_pooled_connections(
    answers: list[int], over_a_session: bool
) -> None:
    """Whatever each connection answers before it ends, a call sends one request per dead one."""

    class Varied(Reaper):
        async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._answers = answers[self.connections % len(answers)]
            await super().handle(reader, writer)

    async def run() -> None:
        server = Varied(close)
        async with client_of(server, over_a_session=over_a_session) as client:
            for _ in range(10):
                before = len(server.heads)
                with suppress(TransportError):
                    await client.costs.get("a", DAY, DAY)
                assert len(server.heads) - before <= (4 if over_a_session else 2)

    asyncio.run(run())


@pytest.mark.parametrize("over_a_session", [False, True])
@pytest.mark.parametrize("end", [close, reset], ids=["close", "reset"])
async def test_a_change_that_was_written_is_not_repeated(end: Ending, over_a_session: bool) -> None:
    """A POST of which a byte may have left is sent once, though its connection was dead."""
    server = Reaper(end)
    async with client_of(server, over_a_session=over_a_session) as client:
        await client.costs.get("a", DAY, DAY)
        with pytest.raises(TransportError) as caught:
            await client.families.create(name="f")
    assert caught.value.sent
    assert sum(head.startswith(b"POST") for head in server.heads) == 1


@pytest.mark.parametrize("over_a_session", [False, True])
@pytest.mark.parametrize("how", ["closed before the write", "refused by the system"])
async def test_a_change_of_which_nothing_was_written_is_repeated(
    how: str, over_a_session: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A POST whose connection ends before its first byte goes to a new connection at once."""
    ended: list[str] = []
    write = connections._BodyWriter.write_with_length

    async def end_first(self: Any, writer: Any, length: int | None) -> None:
        if not ended:
            ended.append(how)
            if how == "closed before the write":
                writer.transport.abort()
            else:  # the next write fails, as after a reset that nobody has read yet
                writer.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        await write(self, writer, length)

    monkeypatch.setattr(connections._BodyWriter, "write_with_length", end_first)
    server = Reaper(close, answers=9)
    async with client_of(server, over_a_session=over_a_session) as client:
        await client.costs.get("a", DAY, DAY)
        await client.families.create(name="f")
    assert ended == [how]
    assert sum(head.startswith(b"POST") for head in server.heads) == 1
    assert server.connections == 2


async def test_a_connection_idle_for_too_long_is_not_reused() -> None:
    """A connection that was idle for `keepalive_s` is closed, and the next call has a new one."""
    server = Reaper(close, answers=9)
    async with client_of(server, keepalive_s=0.05) as client:
        for pause_s in (0.0, 0.2, 0.0):
            await client.costs.get("a", DAY, DAY)
            await asyncio.sleep(pause_s)
    assert server.connections == 2


async def test_an_error_before_the_repetition_ends_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that is closed while a call moves to a new connection ends the call."""
    async with client_of(Reaper(close)) as client:
        await client.costs.get("a", DAY, DAY)
        shared, calls = client._shared, itertools.count()

        def require_open(_: object) -> None:
            if next(calls):
                raise ConfigError("closed")

        monkeypatch.setattr(shared, "require_open", require_open)
        with pytest.raises(ConfigError, match="closed") as caught:
            await client.costs.get("a", DAY, DAY)
    assert caught.value.attempts == 1


async def test_a_refused_connection_after_a_dead_one_is_a_failure() -> None:
    """A server that goes away while a call moves to a new connection is an ordinary failure."""
    listening: list[asyncio.Server] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")
        listening[0].close()
        writer.close()

    listening.append(await asyncio.start_server(once, "127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listening[0].sockets[0].getsockname()[1]}"
    async with SpotBillingClient("t", base_url=base_url, config=ClientConfig(retry=ONCE)) as client:
        await client.costs.get("a", DAY, DAY)
        with pytest.raises(TransportError, match="cannot connect") as caught:
            await client.costs.get("a", DAY, DAY)
    assert caught.value.attempts == 2
