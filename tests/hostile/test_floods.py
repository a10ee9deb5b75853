"""Endless responses and compression bombs: each is stopped at the size limit."""

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
FLOOD_BYTES = 256 * MIB  # stands for an endless response
BUFFERS_BYTES = 16 * MIB  # bytes that sockets and streams on loopback buffer beyond a limit
GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GZIP = HEAD + b"Content-Encoding: gzip\r\n\r\n"
GZIP_HEADER = gzip.compress(b"")[:10]


class Sent:
    """Number of bytes that a server sent before the client closed the connection."""

    size_bytes = 0


@asynccontextmanager
async def flooding(start: bytes, piece: bytes) -> AsyncIterator[tuple[str, Sent]]:
    """Serve a start, then the same piece for as long as the client reads."""
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
    """Return a client with a size limit, without retries."""
    config = ClientConfig(retry=RetryPolicy(max_attempts=1), max_response_bytes=limit_bytes)
    return SpotBillingClient("a-token", base_url=base_url, config=config)


def bomb(size_bytes: int, fill: bytes = b" ") -> bytes:
    """Return a gzip body that decompresses to `size_bytes` of the same byte."""
    compressor = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    block = fill * MIB
    return b"".join(
        [*(compressor.compress(block) for _ in range(size_bytes // MIB)), compressor.flush()]
    )


def chunked(piece: bytes) -> bytes:
    """Return a chunk of the chunked transfer encoding."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "plain bytes": (HEAD + b"\r\n", b" " * 65_536),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunked(b" " * 65_536)),
    "gzip members without content": (GZIP, gzip.compress(b"") * 500),
    "gzip blocks without content": (GZIP + GZIP_HEADER, b"\x00\x00\x00\xff\xff" * 10_000),
    "gzip blocks that hardly compress": (GZIP + GZIP_HEADER, b"\x00\x01\x00\xfe\xff " * 10_000),
    "an error's body": (b"HTTP/1.1 500 x\r\n\r\n", b" " * 65_536),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_stopped_at_the_limit(name: str) -> None:
    """Bytes of an endless body are counted as they arrive and as they are decompressed."""
    start, piece = FLOODS[name]
    async with flooding(start, piece) as (base_url, sent), client_of(base_url) as client:
        with pytest.raises((ResponseTooLargeError, TransportError)) as caught:
            await client.costs.get("a")
    assert isinstance(caught.value, ResponseTooLargeError) == ("members" not in name)
    assert sent.size_bytes <= LIMIT_BYTES + BUFFERS_BYTES


@pytest.mark.parametrize("size_bytes", [64 * MIB, 1024 * MIB], ids=["64 MiB", "1 GiB"])
async def test_a_bomb_is_not_decompressed_beyond_the_limit(size_bytes: int) -> None:
    """Memory for a bomb of any size stays below the limit and one step."""
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
    # The buffers of socket and stream, on both sides, hold compressed bytes.
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
    """An endless head is an error before many bytes are read."""
    async with flooding(start, piece) as (base_url, sent), client_of(base_url) as client:
        with pytest.raises(TransportError):
            await client.costs.get("a")
    assert sent.size_bytes <= BUFFERS_BYTES


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    """A body of the limit, compressed or not, is read; one byte more is an error."""
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
async def test_only_the_requested_encoding_is_decompressed(encoding: str) -> None:
    """Only gzip is requested; another encoding is an error, also if a decoder is installed."""
    answer = http(zlib.compress(GOOD), f"Content-Encoding: {encoding}")
    async with serve_raw(answer) as (base_url, heads), client_of(base_url) as client:
        with pytest.raises(TransportError, match="not asked for"):
            await client.costs.get("a")
    assert b"\r\nAccept-Encoding: gzip\r\n" in heads[0]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 400))
def test_gzip_in_any_pieces_gives_the_original(parts: list[bytes], cut: int) -> None:
    """Several members, received in any pieces, decompress to the original bytes."""
    packed = b"".join(map(gzip.compress, parts))
    unpack = Gunzip()
    pieces = [p for i in range(0, len(packed), cut) for p in unpack.feed(packed[i : i + cut])]
    assert b"".join(pieces) == b"".join(parts)
    assert unpack.is_complete


@pytest.mark.parametrize("extra", [-1, 0, 1, 257, STEP_BYTES])
def test_a_step_has_a_size_limit(extra: int) -> None:
    """Each step of any compressed body has at most STEP_BYTES, and all bytes come out."""
    size = 4 * STEP_BYTES + extra
    unpack = Gunzip()
    sizes = [len(piece) for piece in unpack.feed(gzip.compress(bytes(size)))]
    assert max(sizes) == STEP_BYTES
    assert sum(sizes) == size
    assert unpack.is_complete


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(GOOD)[:-9]])
async def test_an_error_status_precedes_a_bad_body(body: bytes) -> None:
    """A 403 whose body cannot be decompressed is a PermissionDeniedError."""
    answer = http(body, "Content-Encoding: gzip", "X-Request-Id: r1", status="403 Forbidden")
    async with serve_raw(answer) as (base_url, _), client_of(base_url) as client:
        with pytest.raises(PermissionDeniedError) as caught:
            await client.costs.get("a")
    assert caught.value.request_id == "r1"
