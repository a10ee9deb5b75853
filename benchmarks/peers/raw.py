"""An asyncio protocol and msgspec: the floor of Python.

It implements the part of HTTP/1.1 that the servers here use, and fails on everything else.
"""

import asyncio
from urllib.parse import urlsplit

import msgspec

from benchmarks.harness.task import TOKEN, Measurement, Task, day_of
from benchmarks.harness.watch import Stopwatch
from benchmarks.peers.envelope import Envelope

LIBRARIES = ("msgspec",)
_END = b"\r\n\r\n"


class Exchange(asyncio.Protocol):
    """A connection with one request in flight at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begin = self._end = 0
        self._response: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect a response, whose head states the length of its body."""
        self._buffer += data
        if not self._end:
            head = self._buffer.find(_END)
            if head < 0:
                return
            fields = bytes(self._buffer[:head]).lower()
            assert fields.startswith(b"http/1.1 200 "), fields
            length = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            self._begin, self._end = head + len(_END), head + len(_END) + length
        if len(self._buffer) >= self._end:
            body = bytes(memoryview(self._buffer)[self._begin : self._end])
            self._buffer, self._end = bytearray(), 0
            assert self._response is not None
            self._response.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight, if any."""
        if self._response is not None and not self._response.done():
            self._response.set_exception(exc or ConnectionResetError())

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request, and return a future of the response body."""
        self._response = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._response


async def run(task: Task) -> Measurement:
    """Make calls with one connection for each worker."""
    decoder = msgspec.json.Decoder(Envelope)
    address = urlsplit(task.base_url)
    host, port = address.hostname, address.port
    assert host
    assert port
    pending = iter(range(task.calls))
    rows = 0

    async def work() -> None:
        nonlocal rows
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_connection(Exchange, host, port)
        for i in pending:
            envelope = decoder.decode(await exchange.send(_request(address.netloc, day_of(i))))
            assert envelope.response is not None
            assert envelope.response.items
            rows += len(envelope.response.items)
        transport.close()

    with Stopwatch(task) as watch:
        await asyncio.gather(*(work() for _ in range(task.concurrency)))
    return watch.measurement(rows)


def _request(host: str, day: str) -> bytes:
    return (
        f"GET /billingEngine/cost?accountId=a&fromDate={day}&toDate={day} HTTP/1.1\r\n"
        f"Host: {host}\r\nAuthorization: Bearer {TOKEN}\r\nAccept: application/json\r\n\r\n"
    ).encode()
