"""Execution of faults: replaced responses within HTTP; raw bytes, pauses and resets below it."""

import asyncio
import socket
import struct
import zlib
from functools import cache
from http import HTTPStatus

import anyio.to_thread
import msgspec
from aiohttp import web

from spot_billing_async.emulator.chaos.randomness import Fault
from spot_billing_async.emulator.responses import internal_error, json_response

FAULTS_BEFORE_EXECUTION = frozenset(
    {
        Fault.SERVER_ERROR,
        Fault.BAD_GATEWAY,
        Fault.RESET_BEFORE,
        Fault.RESET_IN_HEADERS,
        Fault.GARBAGE,
        Fault.GZIP_BOMB,
    }
)
"""Faults that occur before the operation runs: the request has no effect."""

_DRIP_CHUNKS = 5
_DRIP_PAUSE_S = 0.25
_HALF_CLOSED_S = 5
"""Seconds for which a half-closed connection stays open if the client does not close it."""

_PARTIAL_HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; cha"
_GARBAGE = b"\x16\x03\x01\x00\xff\x00\x9d\xc3\x28 this is no HTTP \x00\x07\xfe\r\n\r\n"


async def replace_response(
    request: web.Request, response: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    """Return the faulty response to send instead; unchanged for faults of the delivery."""
    match fault:
        case Fault.SERVER_ERROR:
            return internal_error(request)
        case Fault.BAD_GATEWAY:
            page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
            return web.Response(status=502, text=page, content_type="text/html")
        case Fault.GZIP_BOMB:
            headers = {"Content-Encoding": "gzip"}
            # The first compression takes a quarter of a second, too long for the event loop.
            bomb = await anyio.to_thread.run_sync(_gzip_bomb)
            return web.Response(body=bomb, content_type="application/json", headers=headers)
        case Fault.WRONG_COUNT if response.status == HTTPStatus.OK:
            return _with_wrong_count(response)
        case Fault.WRONG_COUNT:
            return internal_error(request)  # an error response has no count
        case _:
            return response


async def send_faulty(
    request: web.Request, response: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    """Send the response as a fault of the delivery demands; return it unsent for other faults."""
    match fault:
        case Fault.RESET_BEFORE:
            _reset(request)
        case Fault.RESET_IN_HEADERS:
            write_raw(request.transport, _PARTIAL_HEADERS)
            _reset(request)
        case Fault.RESET_AFTER_HEADERS:
            await _send_headers(request, response)
            _reset(request)
        case Fault.HALF_CLOSED:
            await _send_first_half(request, response)
            if request.transport is not None:
                request.transport.write_eof()
            # A client that closes the connection cancels this request, and so ends the pause.
            await asyncio.sleep(_HALF_CLOSED_S)
            _close(request)
        case Fault.CUT_OFF:
            await _send_first_half(request, response)
            _close(request)
        case Fault.SLOW_DRIP:
            return await _send_slowly(request, response)
        case Fault.GARBAGE:
            write_raw(request.transport, _GARBAGE)
            _close(request)
        case _:
            return response
    # A handler must return a response; aiohttp silently drops it on a closed connection.
    return web.Response()


def _with_wrong_count(response: web.StreamResponse) -> web.Response:
    """Return the response with a count one too high; all other bytes of the items are kept."""
    parts = dict[str, msgspec.Raw]
    envelope = msgspec.json.decode(body_of(response), type=parts)
    content = msgspec.json.decode(envelope["response"], type=parts)
    count = msgspec.json.decode(content["count"], type=int) + 1
    content["count"] = msgspec.Raw(str(count).encode())
    envelope["response"] = msgspec.Raw(msgspec.json.encode(content))
    return json_response(msgspec.json.encode(envelope))


@cache
def _gzip_bomb() -> bytes:
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)  # 16 selects the gzip format
    blanks = b" " * 2**20
    return b"".join([*(compressor.compress(blanks) for _ in range(64)), compressor.flush()])


async def _send_headers(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Send the headers of the response, with the length of its whole body."""
    sent = web.StreamResponse(status=response.status, headers=response.headers)
    sent.content_length = len(body_of(response))
    await sent.prepare(request)
    return sent


async def _send_first_half(request: web.Request, response: web.StreamResponse) -> None:
    sent = await _send_headers(request, response)
    body = body_of(response)
    await sent.write(body[: len(body) // 2])


async def _send_slowly(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    body = body_of(response)
    size = len(body) // _DRIP_CHUNKS + 1
    sent = await _send_headers(request, response)
    for start in range(0, len(body), size):
        if start:
            await asyncio.sleep(_DRIP_PAUSE_S)
        await sent.write(body[start : start + size])
    return sent


def body_of(response: web.StreamResponse) -> bytes:
    """Return the body of a response that is complete in memory."""
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes) else b""


def write_raw(transport: asyncio.Transport | None, content: bytes) -> None:
    """Write bytes to a connection, if it is still open."""
    if transport is not None and not transport.is_closing():
        transport.write(content)


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.Request) -> None:
    """Make the kernel send RST: it does so on closing a socket with a linger time of zero."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            no_linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        transport.abort()
