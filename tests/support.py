"""Scripted servers on loopback sockets, and a manual clock."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import uvicorn
from aiohttp import web
from starlette.types import ASGIApp

Streams = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Clock:
    """Manual clock: a test sets `now_s`."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the present reading, in seconds."""
        return self.now_s


@asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[str]:
    """Serve every request with one handler; yield the base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serve_app(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an ASGI app with uvicorn in this event loop; yield the base URL."""
    config = uvicorn.Config(app, lifespan="on", log_config=None, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.001)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class Fetched(NamedTuple):
    """Response with its whole body."""

    status: int
    headers: dict[str, str]
    body: bytes


async def fetched(url: str, **headers: str) -> Fetched:
    """Send a GET request and return the response."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return Fetched(answer.status, dict(answer.headers), await answer.read())


@asynccontextmanager
async def serve_raw(*answers: bytes, close: bool = True) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer each connection with the next of `answers`, and all further ones with the last.

    Yield the base URL and the heads of the requests received so far.
    """
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answers[min(len(heads), len(answers)) - 1])
            await writer.drain()
            if not close:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()


@asynccontextmanager
async def serve_streams(handle: Streams, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Handle connections until they or the block end; yield the port."""
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        writers.append(writer)
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        for writer in writers:
            writer.transport.abort()  # do not wait for data that no client reads
        await asyncio.sleep(0)


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return the bytes of a response; `length` overrides its Content-Length."""
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(head).encode() + body
