"""Makes faults happen: within HTTP as another answer, below it as bytes, pauses and resets."""

import asyncio
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus

import anyio.to_thread
import msgspec
from aiohttp import web

from spot_billing_async.emulator.chaos.randomness import Fault
from spot_billing_async.emulator.responses import Entry, Refused, json_answer, refusal

UNPERFORMED = frozenset(
    {
        Fault.SERVER_ERROR,
        Fault.BAD_GATEWAY,
        Fault.RESET_BEFORE,
        Fault.RESET_IN_HEADERS,
        Fault.GARBAGE,
        Fault.GZIP_BOMB,
    }
)
"""Faults that come before the request is performed: what it asks for is not done."""

_DRIPS = 5
_DRIP_PAUSE_S = 0.25
_HALF_CLOSED_S = 5
"""How long a half-closed connection is kept for a client that does not let go of it."""

_HEADERS_BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; cha"
_GARBAGE = b"\x16\x03\x01\x00\xff\x00\x9d\xc3\x28 this is no HTTP \x00\x07\xfe\r\n\r\n"


async def spoilt(
    request: web.Request, answer: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    """The answer that the fault puts in the place of the true one; most leave that as it is."""
    match fault:
        case Fault.SERVER_ERROR:
            return _server_error(request)
        case Fault.BAD_GATEWAY:
            page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
            return web.Response(status=502, text=page, content_type="text/html")
        case Fault.GZIP_BOMB:
            packed = {"Content-Encoding": "gzip"}
            bomb = await anyio.to_thread.run_sync(_bomb)  # the first takes a quarter of a second
            return web.Response(body=bomb, content_type="application/json", headers=packed)
        case Fault.WRONG_COUNT:
            return _miscounted(answer) if answer.status == HTTPStatus.OK else _server_error(request)
        case _:
            return answer


async def delivered(
    request: web.Request, answer: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    """Send the answer as the fault has it; one that is wrong in itself is sent as any other."""
    deliver = _DELIVERIES.get(fault)
    return answer if deliver is None else await deliver(request, answer)


def _server_error(request: web.Request) -> web.Response:
    entry = Entry(None, "An unknown error occurred", None)
    return refusal(request, Refused(HTTPStatus.INTERNAL_SERVER_ERROR, [entry]))


def _miscounted(answer: web.StreamResponse) -> web.Response:
    """The answer with a count that is one too high; all else stays to the byte."""
    parts = dict[str, msgspec.Raw]
    envelope = msgspec.json.decode(_body(answer), type=parts)
    response = msgspec.json.decode(envelope["response"], type=parts)
    count = msgspec.json.decode(response["count"], type=int) + 1
    response["count"] = msgspec.Raw(str(count).encode())
    envelope["response"] = msgspec.Raw(msgspec.json.encode(response))
    return json_answer(msgspec.json.encode(envelope))


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)  # with the frame of gzip
    blanks = b" " * 2**20
    return b"".join([*(packer.compress(blanks) for _ in range(64)), packer.flush()])


async def _begun(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """Send the headers of the answer, which promise its whole body."""
    sent = web.StreamResponse(status=answer.status, headers=answer.headers)
    sent.content_length = len(_body(answer))
    await sent.prepare(request)
    return sent


async def _reset_before(request: web.Request, _answer: web.StreamResponse) -> web.StreamResponse:
    return _reset(request)


async def _reset_in_headers(
    request: web.Request, _answer: web.StreamResponse
) -> web.StreamResponse:
    _write(request, _HEADERS_BEGUN)
    return _reset(request)


async def _reset_after_headers(
    request: web.Request, answer: web.StreamResponse
) -> web.StreamResponse:
    await _begun(request, answer)
    return _reset(request)


async def _half_closed(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    sent = await _begun(request, answer)
    await sent.write(_first_half(answer))
    if request.transport is not None:
        request.transport.write_eof()
    # A client that lets go of the connection ends this at once: its request is cancelled.
    await asyncio.sleep(_HALF_CLOSED_S)
    return _closed(request)


async def _cut_off(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    sent = await _begun(request, answer)
    await sent.write(_first_half(answer))
    return _closed(request)


async def _dripped(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    body = _body(answer)
    size = len(body) // _DRIPS + 1
    sent = await _begun(request, answer)
    for start in range(0, len(body), size):
        if start:
            await asyncio.sleep(_DRIP_PAUSE_S)
        await sent.write(body[start : start + size])
    return sent


async def _garbage(request: web.Request, _answer: web.StreamResponse) -> web.StreamResponse:
    _write(request, _GARBAGE)
    return _closed(request)


_DELIVERIES: dict[
    Fault, Callable[[web.Request, web.StreamResponse], Awaitable[web.StreamResponse]]
] = {
    Fault.RESET_BEFORE: _reset_before,
    Fault.RESET_IN_HEADERS: _reset_in_headers,
    Fault.RESET_AFTER_HEADERS: _reset_after_headers,
    Fault.HALF_CLOSED: _half_closed,
    Fault.CUT_OFF: _cut_off,
    Fault.SLOW_DRIP: _dripped,
    Fault.GARBAGE: _garbage,
}


def _body(answer: web.StreamResponse) -> bytes:
    body = answer.body if isinstance(answer, web.Response) else None
    return body if isinstance(body, bytes) else b""


def _first_half(answer: web.StreamResponse) -> bytes:
    body = _body(answer)
    return body[: len(body) // 2]


def _write(request: web.Request, content: bytes) -> None:
    if request.transport is not None:
        request.transport.write(content)


def _closed(request: web.Request) -> web.Response:
    """Hang up; what this returns can't be sent any more, which aiohttp takes in silence."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def _reset(request: web.Request) -> web.Response:
    """Make the kernel send RST, which it does for a socket that must not linger."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            no_linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        transport.abort()
    return web.Response()
