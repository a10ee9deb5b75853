"""Connections of the emulator on real sockets: time for a request head, and the Host check."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.emulator import Emulator, connection
from spot_billing_async.emulator.hosts import is_allowed_host, is_host

Serve = Callable[..., AbstractAsyncContextManager[Any]]

FAMILY = "/billingEngine/family"


@pytest.fixture
def short_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time for a head, so that its end comes within the test."""
    monkeypatch.setattr(connection, "_HEAD_TIMEOUT_S", 0.05)


@asynccontextmanager
async def connect(
    server: Emulator,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a bare connection."""
    host, port = server.base_url.removeprefix("http://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def head_of(server: Emulator, host: str = "127.0.0.1", extra: str = "") -> bytes:
    return (
        f"GET {FAMILY} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\n"
        f"{extra}\r\n"
    ).encode(errors="surrogateescape")


async def read_response(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Read one response from a connection that stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, after = head.partition(b"Content-Length: ")
    body = await reader.readexactly(int(after.partition(b"\r\n")[0]))
    return int(head[9:12]), json.loads(body)


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a head that never ends, byte by byte, until the server closes; return its bytes."""
    received = asyncio.create_task(reader.read())
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        while not received.done():
            writer.write(b"x")
            await asyncio.sleep(0.001)
    with contextlib.suppress(ConnectionError):
        return await received
    return b""


@pytest.mark.usefixtures("short_head")
async def test_a_connection_without_a_head_is_closed(serve: Serve) -> None:
    """A client that sends nothing, or a head that does not end, loses its connection."""
    async with serve() as call:
        async with connect(call.server) as (reader, _):
            assert await reader.read() == b""
        async with connect(call.server) as (reader, writer):
            assert await trickle(reader, writer) == b""
        assert call.server.requests == 0


@pytest.mark.usefixtures("short_head")
async def test_a_later_head_is_limited_too(serve: Serve) -> None:
    """A kept connection is closed if the next head begins and does not end."""
    async with serve() as call, connect(call.server) as (reader, writer):
        writer.write(head_of(call.server))
        assert (await read_response(reader))[0] == 200
        assert await trickle(reader, writer) == b""


@pytest.mark.usefixtures("short_head")
async def test_an_idle_kept_connection_stays_open(serve: Serve) -> None:
    """A connection with a complete request stays open, while it is answered and afterwards."""
    async with serve(latency="150ms") as call, connect(call.server) as (reader, writer):
        for _ in range(2):
            # The second request waits for the first: its head is complete.
            writer.write(head_of(call.server))
            await asyncio.sleep(0.01)
            writer.write(head_of(call.server))
            for _ in range(2):
                assert (await read_response(reader))[0] == 200
            await asyncio.sleep(0.15)


@pytest.mark.usefixtures("short_head")
@pytest.mark.parametrize("token", ["good-token", "another"])
async def test_a_slow_body_is_no_head(serve: Serve, token: str) -> None:
    """A body takes the time it takes, and does not count as the head of a next request."""
    body = b'{"family": {"name": "New"}}'
    async with serve() as call, connect(call.server) as (reader, writer):
        writer.write(
            f"POST {FAMILY} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
        assert (await read_response(reader))[0] == (200 if token == call.server.token else 401)
        await asyncio.sleep(0.15)
        writer.write(head_of(call.server))
        assert (await read_response(reader))[0] == 200


@pytest.mark.usefixtures("short_head")
async def test_a_slow_head_behind_a_request_is_limited(serve: Serve) -> None:
    """Bytes of a next head that arrive during an answer count from the end of that answer on."""
    async with serve(latency="120ms") as call, connect(call.server) as (reader, writer):
        writer.write(head_of(call.server))
        await asyncio.sleep(0.01)
        writer.write(b"GET / HT")
        assert (await read_response(reader))[0] == 200
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:1", "LOCALHOST.", "a.localhost", "127.8.8.8:80", "[::1]:8080"]
)
async def test_loopback_hosts_are_accepted(serve: Serve, host: str) -> None:
    """A server on loopback answers requests for each loopback name and address, with any port."""
    async with serve() as call, connect(call.server) as (reader, writer):
        writer.write(head_of(call.server, host))
        assert (await read_response(reader))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "10.0.0.1",
        "[::2]",
        "::1",
        "",
        ":80",
        "localhost:80:90",
        "notlocalhost",
        "\udcff",
    ],
)
async def test_other_hosts_are_refused(serve: Serve, host: str) -> None:
    """A server on loopback refuses a foreign host with a 403, even under faults and without quota.

    A browser sends such a request for a web page whose name points at 127.0.0.1.
    """
    options = {"rate_limit": "1/60s", "faults": "garbage=1"}
    async with serve(**options) as call, connect(call.server) as (reader, writer):
        for _ in range(2):
            writer.write(head_of(call.server, host))
            status, body = await read_response(reader)
            assert status == 403
            (error,) = body["response"]["errors"]
            assert (error["field"], error["code"]) == ("header.Host", "Forbidden")
            assert "--allow-host" in error["message"]
            assert "items" not in body["response"]


async def test_named_hosts_are_accepted(serve: Serve) -> None:
    """The names of `allow_host` are accepted in any case and with any port, and no others."""
    async with serve(allow_host=["Dev.Example", "fd00::1"]) as call:
        for host, expected in (
            ("dev.example:8080", 200),
            ("DEV.example.", 200),
            ("[fd00::1]:80", 200),
            ("a.dev.example", 403),
            ("localhost", 200),
        ):
            async with connect(call.server) as (reader, writer):
                writer.write(head_of(call.server, host))
                assert (await read_response(reader))[0] == expected


async def test_a_server_for_other_machines_checks_no_host() -> None:
    """A server that listens on more than loopback is reached by any name."""
    async with Emulator(host="0.0.0.0", token="t") as server:  # noqa: S104  the rule is about it
        url = server.base_url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104  as above
        headers = {"Authorization": "Bearer t", "Host": "dev.example"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(url + FAMILY, headers=headers) as answer,
        ):
            assert answer.status == 200


@given(st.text())
def test_no_text_passes_for_another_host(text: str) -> None:
    """A host name that is no loopback one passes only if it is named, with any port."""
    if is_host(text) and not is_allowed_host(text, []) and ":" not in text:
        for header in (text, f"{text}:80", f"{text.upper()}"):
            assert not is_allowed_host(header, [])
        assert is_allowed_host(f"{text}:80", [text.lower().removesuffix(".")])
    assert not is_allowed_host(f"{text}.example", [])
    assert not is_allowed_host(f"localhost.{text}x", [])
