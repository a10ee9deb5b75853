"""A canned server, which keeps the bytes of its responses and so is never the limit.

`python -m benchmarks.harness.server ROWS [LATENCY_S] [--echo]` prints its port. A response holds
the account and the first day that were asked for in every row. It is sent LATENCY_S seconds after
its request; with `--echo` it repeats the URL, as the API does.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import parse_qs

KEPT_BYTES = 64 * 1024 * 1024
"""Approximate size of the responses that the server keeps."""


class Canned(asyncio.Protocol):
    """A connection that sends the response for each request head, without bodies or pipelining.

    Args:
        respond: returns the bytes of the response to a query string.
        latency_s: seconds from a request to its response.
    """

    def __init__(self, respond: Callable[[bytes], bytes], latency_s: float = 0) -> None:
        self._respond = respond
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
            response = self._respond(self._head.split(b" ", 2)[1].partition(b"?")[2])
            self._head = b""
            if self._latency_s:
                loop = asyncio.get_running_loop()
                loop.call_later(self._latency_s, self._transport.write, response)
            else:
                self._transport.write(response)


def page_body(rows: int, account: str, day: str, echoed: str = "") -> bytes:
    """Return a page of cost analysis as JSON.

    Args:
        rows: number of its rows.
        account: account of every row.
        day: day of every row.
        echoed: members of `request` after its id.
    """
    row = (
        f'{{"accountId":"{account}","cloudProvider":"aws","service":"Amazon Simple Storage",'
        f'"date":"{day}","cost":0.0000%06d,"currency":"USD"}}'
    )
    items = ",".join(row % i for i in range(rows))
    body = f'{{"request":{{"id":"r1"{echoed}}},"response":{{"items":[{items}],"count":{rows}}}}}'
    return body.encode()


def http_response(body: bytes) -> bytes:
    """Return the bytes of an HTTP response with a JSON body."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def responder(rows: int, *, echo: bool) -> Callable[[bytes], bytes]:
    """Return a function from a query string to the response with a number of rows."""

    @lru_cache(maxsize=KEPT_BYTES // (200 * (rows + 1)) + 1)
    def respond(query: bytes) -> bytes:
        asked = {name: values[0] for name, values in parse_qs(query.decode()).items()}
        echoed = f',"url":"/billingEngine/cost?{query.decode()}"' if echo else ""
        account, day = asked.get("accountId", "a"), asked.get("fromDate", "2018-10-01")
        return http_response(page_body(rows, account, day, echoed))

    return respond


async def main(rows: int, latency_s: float, *, echo: bool) -> None:
    """Print the port, and serve until standard input ends."""
    respond = responder(rows, echo=echo)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Canned(respond, latency_s), "127.0.0.1", 0, backlog=2048
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness.server")
    parser.add_argument("rows", type=int)
    parser.add_argument("latency_s", type=float, nargs="?", default=0.0)
    parser.add_argument("--echo", action="store_true")
    options = parser.parse_args()
    asyncio.run(main(options.rows, options.latency_s, echo=options.echo))
