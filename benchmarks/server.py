"""A server that is never the limit: it answers every request with the same bytes."""

import asyncio
import sys


class Canned(asyncio.Protocol):
    """Answers each request head with the answer; there are no bodies, and no pipelining."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
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
            self._transport.write(self._answer)


def answer_of(rows: int) -> bytes:
    """A page of cost analysis with that many rows, as the bytes of an HTTP answer."""
    row = (
        b'{"accountId":"836060457634","cloudProvider":"aws","service":"Amazon Simple Storage",'
        b'"date":"2018-10-01","cost":0.0000%06d,"currency":"USD"}'
    )
    items = b",".join(row % i for i in range(rows))
    body = b'{"request":{"id":"r1"},"response":{"items":[%b],"count":%d}}' % (items, rows)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def main(rows: int) -> None:
    """Serve until standard input ends; print the port."""
    answer = answer_of(rows)
    server = await asyncio.get_running_loop().create_server(lambda: Canned(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
