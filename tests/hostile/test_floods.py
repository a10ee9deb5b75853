"""Answers without end, and bombs: they are stopped at a bound, wherever they hide."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    ClientConfig,
    PermissionDeniedError,
    ResponseTooLargeError,
    RetryPolicy,
    SpotBillingClient,
    TransportError,
)
from spot_billing_async._core.http.gzip import STEP_BYTES, Gunzip
from tests.support import http, serve_raw, serve_streams

MIB = 1024 * 1024
LIMIT_BYTES = 4 * MIB
FLOOD_BYTES = 256 * MIB  # "for ever"
BUFFERS_BYTES = 16 * MIB  # what sockets and streams on loopback may take in beyond a limit
GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GZIP = HEAD + b"Content-Encoding: gzip\r\n\r\n"
GZIP_HEADER = gzip.compress(b"")[:10]


class Sent:
    """How much a server got rid of before the client hung up."""

    size_bytes = 0


@asynccontextmanager
async def flooding(start: bytes, piece: bytes) -> AsyncIterator[tuple[str, Sent]]:
    """Answers each request with a start, then the same piece for as long as it is taken."""
    sent = Sent()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        while sent.size_bytes < FLOOD_BYTES:
            writer.write(piece)
            await writer.drain()
            sent.size_bytes += len(piece)

    async with serve_streams(flood) as port:
        yield f"http://127.0.0.1:{port}", sent


def client_of(base_url: str, limit_bytes: int = LIMIT_BYTES) -> SpotBillingClient:
    config = ClientConfig(retry=RetryPolicy(max_attempts=1), max_response_bytes=limit_bytes)
    return SpotBillingClient("a-token", base_url=base_url, config=config)


def bomb(size_bytes: int, fill: bytes = b" ") -> bytes:
    """A gzip body that unpacks to so many times the same byte."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    block = fill * MIB
    return b"".join([*(packer.compress(block) for _ in range(size_bytes // MIB)), packer.flush()])


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "plain bytes": (HEAD + b"\r\n", b" " * 65_536),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunked(b" " * 65_536)),
    "gzip members without content": (GZIP, gzip.compress(b"") * 500),
    "gzip blocks without content": (GZIP + GZIP_HEADER, b"\x00\x00\x00\xff\xff" * 10_000),
    "gzip blocks that hardly pack": (GZIP + GZIP_HEADER, b"\x00\x01\x00\xfe\xff " * 10_000),
    "an error's body": (b"HTTP/1.1 500 x\r\n\r\n", b" " * 65_536),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_stopped_at_the_limit(name: str) -> None:
    """Bytes of a body without end are counted as they come, and as they are unpacked."""
    start, piece = FLOODS[name]
    async with flooding(start, piece) as (base_url, sent), client_of(base_url) as client:
        with pytest.raises((ResponseTooLargeError, TransportError)) as caught:
            await client.costs.get("a")
    assert isinstance(caught.value, ResponseTooLargeError) == ("members" not in name)
    assert sent.size_bytes <= LIMIT_BYTES + BUFFERS_BYTES


@pytest.mark.parametrize("size_bytes", [64 * MIB, 1024 * MIB], ids=["64 MiB", "1 GiB"])
async def test_a_bomb_does_not_unpack_beyond_the_limit(size_bytes: int) -> None:
    """Whatever it would come to: what is held of it is the limit, and a step."""
    packed = bomb(size_bytes)
    async with (
        serve_raw(http(packed, "Content-Encoding: gzip")) as (base_url, _),
        client_of(base_url) as client,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(ResponseTooLargeError):
                await client.costs.get("a")
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # Buffers of socket and stream, on both sides, hold packed bytes.
    assert peak_bytes <= LIMIT_BYTES + STEP_BYTES + 4 * MIB


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Many: x\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 65_536),
        (b"HTTP/1.1 200 ", b"x" * 65_536),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Many: x\r\n" * 1000),
    ],
    ids=["many headers", "a long header", "a long status", "many trailers"],
)
async def test_a_flood_of_headers_is_stopped(start: bytes, piece: bytes) -> None:
    """A head without end is no HTTP, long before it is large."""
    async with flooding(start, piece) as (base_url, sent), client_of(base_url) as client:
        with pytest.raises(TransportError):
            await client.costs.get("a")
    assert sent.size_bytes <= BUFFERS_BYTES


async def test_the_limit_is_the_last_size_that_is_read() -> None:
    """Packed or not, a body of exactly that size is whole; one byte more is an error."""
    size = len(GOOD)
    for answer in (http(GOOD), http(gzip.compress(GOOD), "Content-Encoding: gzip")):
        limit = max(size, len(gzip.compress(GOOD)) if b"gzip" in answer else 0)
        async with serve_raw(answer) as (base_url, _):
            async with client_of(base_url, limit) as client:
                assert len(await client.costs.get("a")) == 1
            async with client_of(base_url, limit - 1) as client:
                with pytest.raises(ResponseTooLargeError, match="max_response_bytes"):
                    await client.costs.get("a")


@pytest.mark.parametrize("encoding", ["deflate", "br", "gzip, gzip", "x"])
async def test_only_what_was_asked_for_is_unpacked(encoding: str) -> None:
    """Gzip is asked for; another encoding is an error, whatever is installed to unpack it."""
    answer = http(zlib.compress(GOOD), f"Content-Encoding: {encoding}")
    async with serve_raw(answer) as (base_url, heads), client_of(base_url) as client:
        with pytest.raises(TransportError, match="not asked for"):
            await client.costs.get("a")
    assert b"\r\nAccept-Encoding: gzip\r\n" in heads[0]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 400))
def test_gzip_comes_out_as_it_went_in(parts: list[bytes], cut: int) -> None:
    """Of several members, and in whatever pieces it arrives."""
    packed = b"".join(map(gzip.compress, parts))
    unpack = Gunzip()
    pieces = [p for i in range(0, len(packed), cut) for p in unpack.feed(packed[i : i + cut])]
    assert b"".join(pieces) == b"".join(parts)
    assert unpack.is_complete


@pytest.mark.parametrize("extra", [-1, 0, 1, 257, STEP_BYTES])
def test_no_step_gives_more_than_a_step(extra: int) -> None:
    """However well it is packed; nothing stays inside."""
    size = 4 * STEP_BYTES + extra
    unpack = Gunzip()
    sizes = [len(piece) for piece in unpack.feed(gzip.compress(bytes(size)))]
    assert max(sizes) == STEP_BYTES
    assert sum(sizes) == size
    assert unpack.is_complete


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(GOOD)[:-9]])
async def test_an_errors_status_is_told_whatever_its_body_is(body: bytes) -> None:
    """A 403 is one too where its body cannot be unpacked."""
    answer = http(body, "Content-Encoding: gzip", "X-Request-Id: r1", status="403 Forbidden")
    async with serve_raw(answer) as (base_url, _), client_of(base_url) as client:
        with pytest.raises(PermissionDeniedError) as caught:
            await client.costs.get("a")
    assert caught.value.request_id == "r1"
