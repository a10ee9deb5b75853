"""A canned server, which returns the same bytes for every request and so is never the limit.

`python -m benchmarks.harness.server ROWS [LATENCY_S]` prints its port. Each response is sent
LATENCY_S seconds after its request.
"""

import asyncio
import sys


class Canned(asyncio.Protocol):
    """A connection that sends the response for each request head, without bodies or pipelining."""

    def __init__(self, response: bytes, latency_s: float = 0) -> None:
        self._response = response
        self._latency_s = latency_s
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Send the response when a head is complete."""
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._head = b""
            if self._latency_s:
                loop = asyncio.get_running_loop()
                loop.call_later(self._latency_s, self._transport.write, self._response)
            else:
                self._transport.write(self._response)


def page_body(rows: int) -> bytes:
    """Return a page of cost analysis with a number of rows as JSON."""
    row = (
        b'{"accountId":"836060457634","cloudProvider":"aws","service":"Amazon Simple Storage",'
        b'"date":"2018-10-01","cost":0.0000%06d,"currency":"USD"}'
    )
    items = b",".join(row % i for i in range(rows))
    return b'{"request":{"id":"r1"},"response":{"items":[%b],"count":%d}}' % (items, rows)


def http_response(body: bytes) -> bytes:
    """Return the bytes of an HTTP response with a JSON body."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def main(rows: int, latency_s: float) -> None:
    """Print the port, and serve until standard input ends."""
    response = http_response(page_body(rows))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Canned(response, latency_s), "127.0.0.1", 0, backlog=2048
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(*sys.argv[2:3] or "0")))
