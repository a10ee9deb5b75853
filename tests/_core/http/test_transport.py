"""The transport over real sockets: heads, bodies and failures of single exchanges."""

import asyncio
import gzip
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from spot_billing_async import (
    ClientConfig,
    CostItem,
    DecodeError,
    RetryPolicy,
    ServerError,
    SpotBillingClient,
    TlsConfig,
    TransportError,
)
from tests.hostile.parties import Files
from tests.support import Streams, http, serve, serve_raw, serve_streams

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
HEAD = "HTTP/1.1 200 OK\r\n"
ONCE = ClientConfig(retry=RetryPolicy(max_attempts=1))


async def rows_of(answer: bytes) -> list[CostItem]:
    """Return the rows of a call that one server answers with these bytes."""
    async with (
        serve_raw(answer) as (base_url, _),
        SpotBillingClient("t", base_url=base_url, config=ONCE) as client,
    ):
        return await client.costs.get("a")


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (http(GOOD), 1),
        (http(GOOD, "Content-Encoding: identity"), 1),
        (http(gzip.compress(GOOD), "Content-Encoding: gzip"), 1),
        (http(gzip.compress(GOOD), "Content-Encoding: GZIP"), 1),
        (http(b""), 0),
        (f"{HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), 0),
        (f"{HEAD}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n".encode(), 0),
        (f"{HEAD}Transfer-Encoding: chunked\r\n\r\n3e\r\n{GOOD.decode()}\r\n0\r\n\r\n".encode(), 1),
        (f"{HEAD}Connection: close\r\n\r\n{GOOD.decode()}".encode(), 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0),
    ],
    ids=[
        *("length", "identity", "gzip", "upper case", "empty", "no chunk", "no Chunk", "chunk"),
        *("closing", "204"),
    ],
)
async def test_a_body_may_be_sent_in_many_ways(answer: bytes, count: int) -> None:
    """A body of any framing and of each accepted encoding is read; a marked end may be empty."""
    assert len(await rows_of(answer)) == count


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http(GOOD, "Content-Encoding: br"), "its Content-Encoding was not asked for"),
        (http(b"no gzip", "Content-Encoding: gzip"), "the body cannot be decompressed"),
        (http(GOOD, length=len(GOOD) + 1), "the response is cut off, or not HTTP"),
        (b"garbage\r\n\r\n", "the response is cut off, or not HTTP"),
        (b"", "ServerDisconnectedError"),
    ],
    ids=["encoding", "gzip", "length", "garbage", "nothing"],
)
async def test_a_broken_answer_says_what_is_broken(answer: bytes, message: str) -> None:
    """The error of a broken response says what is wrong, and that the request was sent."""
    with pytest.raises(TransportError, match=message) as caught:
        await rows_of(answer)
    assert caught.value.sent
    assert caught.value.attempts == 1


async def test_an_empty_body_with_an_open_end_is_an_error() -> None:
    """An empty body that only the closing of the connection ends may have been cut off."""
    with pytest.raises(DecodeError, match="may have been cut off"):
        await rows_of(f"{HEAD}Connection: close\r\n\r\n".encode())


@pytest.mark.parametrize("encoding", ["br", "gzip"])
async def test_an_errors_status_precedes_its_unreadable_body(encoding: str) -> None:
    """An error whose body cannot be decompressed is the error of its status, without a body."""
    answer = http(b"no gzip", f"Content-Encoding: {encoding}", status="503 Busy")
    with pytest.raises(ServerError) as caught:
        await rows_of(answer)
    assert (caught.value.status, caught.value.body_excerpt) == (503, "")


async def test_a_refused_connection_says_where(unused_tcp_port: int) -> None:
    """The error has host, port and the system's reason, and says that nothing was sent."""
    base_url = f"http://127.0.0.1:{unused_tcp_port}"
    async with SpotBillingClient("t", base_url=base_url, config=ONCE) as client:
        with pytest.raises(TransportError) as caught:
            await client.costs.get("a")
    assert not caught.value.sent
    assert str(caught.value).startswith(f"cannot connect to 127.0.0.1:{unused_tcp_port}: ")
    assert str(caught.value)[-4:] not in {"", "None"}


Headers = dict[str, str]


async def headers_of(call: Callable[[str], Awaitable[object]]) -> list[Headers]:
    """Return the headers of the requests that a call sends to a server."""
    seen: list[Headers] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.Response(body=GOOD)

    async with serve(handler) as base_url:
        await call(base_url)
    return seen


async def test_the_headers_are_the_same_in_any_session() -> None:
    """A session of the caller's own sends the same headers as the client's, each once."""

    async def through_its_own(base_url: str) -> None:
        async with SpotBillingClient("t", base_url=base_url) as client:
            await client.costs.get("a")
            await client.families.create(name="f")

    async def through_the_callers(base_url: str) -> None:
        async with (
            aiohttp.ClientSession() as session,
            SpotBillingClient("t", base_url=base_url, session=session) as client,
        ):
            await client.costs.get("a")
            await client.families.create(name="f")

    own, callers = await headers_of(through_its_own), await headers_of(through_the_callers)
    for each in (*own, *callers):
        del each["Host"]
    assert own == callers
    get, post = own
    assert (get["Accept"], get["Accept-Encoding"]) == ("application/json", "gzip")
    assert get["User-Agent"].startswith("spot-billing-async/")
    assert "Content-Type" not in get
    assert post["Content-Type"] == "application/json"


@asynccontextmanager
async def in_a_thread(handle: Streams, files: Files) -> AsyncIterator[str]:
    """Serve over TLS in another thread, so that it goes on while this event loop is blocked."""
    ports, ready, stop = [0], threading.Event(), threading.Event()

    async def serve_until_stopped() -> None:
        async with serve_streams(handle, files.server("localhost")) as ports[0]:
            ready.set()
            await asyncio.to_thread(stop.wait)

    server = threading.Thread(target=asyncio.run, args=[serve_until_stopped()])
    server.start()
    await asyncio.to_thread(ready.wait)
    try:
        yield f"https://localhost:{ports[0]}"
    finally:
        stop.set()
        await asyncio.to_thread(server.join)


async def test_a_call_that_is_cancelled_at_any_step_frees_its_connection(tmp_path: Path) -> None:
    """With one connection at most, a call succeeds after one that was cancelled at any step."""

    async def with_a_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(http(GOOD))
            await asyncio.sleep(0.005)
            writer.write(b"H")

    files = Files(tmp_path)
    config = ClientConfig(
        tls=TlsConfig(ca_file=files.ca_file),
        retry=RetryPolicy(backoff_base_s=0.001),  # the byte may come after the next request
        max_concurrency=1,
        deadline_s=20.0,
    )
    async with (
        in_a_thread(with_a_byte, files) as base_url,
        SpotBillingClient("t", base_url=base_url, config=config) as client,
    ):
        for steps in range(7):
            assert len(await client.costs.get("a")) == 1
            time.sleep(0.05)  # noqa: ASYNC251  blocks the loop on purpose: the byte stays unread
            call = asyncio.create_task(client.costs.get("a"))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
        assert len(await client.costs.get("a")) == 1
