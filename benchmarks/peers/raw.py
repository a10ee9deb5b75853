"""An asyncio protocol and msgspec: the floor of Python.

It knows as much of HTTP/1.1 as the canned servers speak, and stops at the first surprise.
"""

import asyncio
from urllib.parse import urlsplit

import msgspec

from benchmarks.harness.task import TOKEN, Measured, Task, day_of
from benchmarks.harness.watch import DeadlineTimer
from benchmarks.peers.envelope import Envelope

STANDS_ON = ("msgspec",)
_END = b"\r\n\r\n"


class Exchange(asyncio.Protocol):
    """A connection, on which one request at a time is answered."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begin = self._end = 0
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect an answer: its head says how long its body is."""
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
            assert self._answer is not None
            self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits learns of it."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; the body of its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer


async def run(task: Task) -> Measured:
    """A connection a worker."""
    decoder = msgspec.json.Decoder(Envelope)
    address = urlsplit(task.base_url)
    host, port = address.hostname, address.port
    assert host
    assert port
    left = iter(range(task.calls))
    rows = 0

    async def work() -> None:
        nonlocal rows
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_connection(Exchange, host, port)
        for i in left:
            envelope = decoder.decode(await exchange.ask(_request(address.netloc, day_of(i))))
            assert envelope.response is not None
            assert envelope.response.items
            rows += len(envelope.response.items)
        transport.close()

    with DeadlineTimer(task) as watch:
        await asyncio.gather(*(work() for _ in range(task.concurrency)))
    return watch.measured(rows)


def _request(host: str, day: str) -> bytes:
    return (
        f"GET /billingEngine/cost?accountId=a&fromDate={day}&toDate={day} HTTP/1.1\r\n"
        f"Host: {host}\r\nAuthorization: Bearer {TOKEN}\r\nAccept: application/json\r\n\r\n"
    ).encode()
