"""Servers that answer in a form of their own, and count the requests for each query."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from spot_billing_async.telemetry import CallEnded, Event, RequestEnded
from tests.hostile.answers import Asked, asked_by
from tests.support import http, serve_streams

Row = dict[str, object]


class Form(NamedTuple):
    """Answer to a request: its rows, and its `request.url` if there is one."""

    rows: list[Row]
    url: object = None

    @property
    def body(self) -> bytes:
        """Body of the response."""
        request = {} if self.url is None else {"request": {"id": "r", "url": self.url}}
        return msgspec.json.encode({**request, "response": {"items": self.rows}})


class Seen(NamedTuple):
    """A request that a server received: on which connection, and as which request on that."""

    asked: Asked
    connection: int
    place: int


class Served:
    """Requests that a server received; `connections` counts the connections opened so far."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.connections = 0

    @property
    def asked(self) -> list[Asked]:
        """Requests in order, on whatever connection."""
        return [seen.asked for seen in self.seen]


@asynccontextmanager
async def serving(
    answer: Callable[[Asked, int], Form], delay_s: float = 0.0
) -> AsyncIterator[tuple[str, Served]]:
    """Answer each request; the function gets the number of earlier requests for the same query."""
    served = Served()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        connection, place = served.connections, 0
        while True:
            asked = asked_by(await reader.readuntil(b"\r\n\r\n"))
            before = served.asked.count(asked)
            served.seen.append(Seen(asked, connection, place))
            place += 1
            await asyncio.sleep(delay_s)
            writer.write(http(answer(asked, before).body))
            await writer.drain()

    async with serve_streams(connected) as port:
        yield f"http://127.0.0.1:{port}", served


class Events:
    """Telemetry hook that keeps the events of calls and requests."""

    def __init__(self) -> None:
        self.calls: list[CallEnded] = []
        self.requests: list[RequestEnded] = []

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        if isinstance(event, CallEnded):
            self.calls.append(event)
        elif isinstance(event, RequestEnded):
            self.requests.append(event)

    @property
    def kinds(self) -> list[tuple[str, ...]]:
        """Contradictions of each answer, in order; the empty ones are left out."""
        return [event.mismatches for event in self.requests if event.mismatches]
