"""The conditions a real server works under, on request: rate limit, latency, faults."""

import asyncio
import math
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from http import HTTPStatus

from aiohttp import web

from spot_billing_async.emulator.answers import Entry, Refused, error_answer, refusal
from spot_billing_async.emulator.rate_limit import RateLimit, SlidingWindow

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(Enum):
    """What may go wrong with a request."""

    SERVER_ERROR = "a 500 with an envelope"
    BAD_GATEWAY = "an HTML page of a proxy, with a 502"
    RESET = "the connection reset before the request is looked at"
    CUT_OFF = "the body of the answer cut off in the middle"


class Conditions:
    """Decides what befalls each request, and makes it so.

    Args:
        rate_limit: None for none.
        latency_s: how long every request waits before it is looked at.
        faults: the share of requests, 0 to 1, that meet a fault.
        seed: the same seed gives the same faults, request by request.
        caller: who asks: requests of different callers never share a window.
    """

    def __init__(
        self,
        *,
        rate_limit: RateLimit | None,
        latency_s: float,
        faults: float,
        seed: int,
        caller: Callable[[web.Request], str],
    ) -> None:
        self._rate_limit = rate_limit
        self._latency_s = latency_s
        self._faults = faults
        self._random = random.Random(seed)  # noqa: S311 - decides on faults, keeps no secret
        self._caller = caller
        self._windows: dict[tuple[str, str, str], SlidingWindow] = {}

    async def pass_through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request by `handler`, unless the conditions are against it."""
        fault = self._draw()
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        if fault is Fault.RESET:
            return _reset(request)
        answer = await self._limited(request, handler, fault)
        return await _cut_off(request, answer) if fault is Fault.CUT_OFF else answer

    async def _limited(
        self, request: web.Request, handler: Handler, fault: Fault | None
    ) -> web.StreamResponse:
        limit = self._rate_limit
        if limit is None:
            return await _answer(request, handler, fault)
        verdict = self._window(request, limit).admit(time.monotonic())
        if verdict.allowed:
            answer = await _answer(request, handler, fault)
        else:
            # The documented body: `data` is a string, and there are no errors.
            answer = error_answer(
                request, HTTPStatus.TOO_MANY_REQUESTS, {"data": "Rate limit exceeded"}
            )
        answer.headers["X-RateLimit-Limit"] = str(limit.requests)
        answer.headers["X-RateLimit-Remaining"] = str(verdict.remaining)
        answer.headers["X-RateLimit-Reset"] = str(math.ceil(verdict.reset_s))
        return answer

    def _draw(self) -> Fault | None:
        if not self._faults or self._random.random() >= self._faults:
            return None
        return self._random.choice(list(Fault))

    def _window(self, request: web.Request, limit: RateLimit) -> SlidingWindow:
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        # What no route takes shares one window: made-up methods can't fill the memory.
        method = request.method if request.match_info.http_exception is None else ""
        key = (self._caller(request), route, method)
        return self._windows.setdefault(key, SlidingWindow(limit))


async def _answer(
    request: web.Request, handler: Handler, fault: Fault | None
) -> web.StreamResponse:
    match fault:
        case Fault.SERVER_ERROR:
            entry = Entry(None, "An unknown error occurred", None)
            return refusal(request, Refused(HTTPStatus.INTERNAL_SERVER_ERROR, [entry]))
        case Fault.BAD_GATEWAY:
            page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
            return web.Response(status=502, text=page, content_type="text/html")
        case _:
            return await handler(request)


async def _cut_off(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    """Promise the whole body, send half of it, and hang up."""
    body = whole.body if isinstance(whole, web.Response) else b""
    content = body if isinstance(body, bytes) else b""
    answer = web.StreamResponse(status=whole.status, headers=whole.headers)
    answer.content_length = len(content)
    await answer.prepare(request)
    await answer.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.close()
    return answer


def _reset(request: web.Request) -> web.StreamResponse:
    """Make the kernel send RST, which it does for a socket that must not linger."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            no_linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        transport.abort()
    return web.Response()
