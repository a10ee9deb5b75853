"""A server that is never the limit: it answers every request with the same bytes.

`python -m benchmarks.harness.server ROWS [LATENCY_S]` prints its port; each answer comes so many
seconds
after its request.
"""

import asyncio
import sys


class Canned(asyncio.Protocol):
    """Answers each request head with the answer; there are no bodies, and no pipelining."""

    def __init__(self, answer: bytes, latency_s: float = 0) -> None:
        self._answer = answer
        self._latency_s = latency_s
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when a head is complete."""
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._head = b""
            if self._latency_s:
                loop = asyncio.get_running_loop()
                loop.call_later(self._latency_s, self._transport.write, self._answer)
            else:
                self._transport.write(self._answer)


def body_of(rows: int) -> bytes:
    """A page of cost analysis with that many rows, as JSON."""
    row = (
        b'{"accountId":"836060457634","cloudProvider":"aws","service":"Amazon Simple Storage",'
        b'"date":"2018-10-01","cost":0.0000%06d,"currency":"USD"}'
    )
    items = b",".join(row % i for i in range(rows))
    return b'{"request":{"id":"r1"},"response":{"items":[%b],"count":%d}}' % (items, rows)


def answer_of(rows: int) -> bytes:
    """The same as the bytes of an HTTP answer."""
    body = body_of(rows)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def main(rows: int, latency_s: float) -> None:
    """Serve until standard input ends; print the port."""
    answer = answer_of(rows)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Canned(answer, latency_s), "127.0.0.1", 0, backlog=2048
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(*sys.argv[2:3] or "0")))
