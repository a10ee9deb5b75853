"""Streaming response with the costs of a pull; a caller may leave it at any moment."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Literal

import anyio
import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from spot_billing_async.bulk.outcome import Failed, Fetched
from spot_billing_async.bulk.records import Record, query_record, report_record, row_records
from spot_billing_async.bulk.run import PullRun
from spot_billing_async.errors import ArgumentError
from spot_billing_async.fastapi.problems import problem_of
from spot_billing_async.models import CostItem

_CHUNK_ROWS = 200  # some 60 KB, encoded in well under a millisecond
_IDLE_S = 15.0
"""Maximum seconds without a message. Proxies cut connections that are silent for a minute, and a
caller whose network is gone is only noticed by a write."""

StreamFormat = Literal["ndjson", "sse"]


def stream_costs(
    run: PullRun[CostItem],
    format: StreamFormat = "ndjson",  # noqa: A002  the usual term for it
) -> "CostStream":
    """Return a response that runs a pull and streams its rows.

        @app.get("/costs")
        async def costs(from_date: date, to_date: date, client: SpotBilling) -> CostStream:
            accounts = [account.account_id for account in await client.accounts.list()]
            plan = CostPlan.build(accounts, from_date, to_date, "month", "service")
            return stream_costs(client.costs.pull(plan))

    The body is a sequence of JSON objects, one a line. With "sse", each object is the data of an
    event named like its `type`:

    - "row": one cost item with the columns of an export; the cost is exact, as text.
    - "failed": a missing slice: its query, the number of `attempts`, and the `problem`.
    - "waiting": sent after 15 seconds without another object, while the pull waits for the API or
      its quota.
    - "report": the last object: the counts and totals of the pull, and whether it is `complete`. A
      stream without it was cut off. A browser's `EventSource` reconnects when a stream ends: close
      it at the report.

    A slow caller slows down the pull, and the rows in memory stay bounded. A caller that leaves
    ends the pull, requests in flight included.

    Args:
        run: result of `client.costs.pull`, not entered; the response enters it.
        format: "ndjson" (JSON lines, the default) or "sse" (server-sent events).

    Raises:
        ArgumentError: `format` is not one of the two.
    """
    if format not in _FORMATS:
        formats = ", ".join(map(repr, _FORMATS))
        raise ArgumentError(f"format must be one of {formats}, got {format!r}")
    return CostStream(run, format)


class CostStream(StreamingResponse):
    """Response made by `stream_costs`; also the return annotation of an endpoint that streams."""

    def __init__(self, run: PullRun[CostItem], stream_format: StreamFormat) -> None:
        media_type, encode = _FORMATS[stream_format]
        # X-Accel-Buffering makes nginx pass the response on without buffering it.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self._chunks = _chunks(run, encode)
        super().__init__(self._chunks, headers=headers, media_type=media_type)

    async def stream_response(self, send: Send) -> None:
        """Send all chunks; the pull has ended when this returns or raises."""
        async with aclosing(self._chunks):
            await super().stream_response(send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until its end, or until the caller leaves.

        A HEAD request gets the headers only, without a pull.
        """
        if scope.get("method") == "HEAD":
            # A closed generator yields nothing: the headers are sent, and the pull never starts.
            await self._chunks.aclose()
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:

            async def cancel_when_caller_leaves() -> None:
                await self.listen_for_disconnect(receive)
                tasks.cancel_scope.cancel()

            # On servers of ASGI HTTP 2.4 and later, Starlette only notices a caller that left when
            # it sends. A pull may have nothing to send for long, so this listens on every server.
            tasks.start_soon(cancel_when_caller_leaves)
            try:
                await self.stream_response(send)
            except OSError:
                pass  # ASGI HTTP 2.4: sending raises it if the caller has left
            except Exception as error:  # noqa: BLE001  raised below, outside an exception group
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if self.background is not None:
            await self.background()


async def _chunks(
    run: PullRun[CostItem], encode: Callable[[Record], bytes]
) -> AsyncGenerator[bytes, None]:
    async with run, aclosing(_outcomes(run)) as outcomes:
        async for outcome in outcomes:
            for chunk in _encode_outcome(outcome, encode):
                yield chunk
                # Sending does not suspend while the server's buffer has room: other tasks run here.
                await asyncio.sleep(0)
    report = run.report
    yield encode({"type": "report", "complete": report.complete, **report_record(report)})


async def _outcomes(
    run: PullRun[CostItem],
) -> AsyncGenerator[Fetched[CostItem] | Failed | None, None]:
    """Yield the outcomes of a run, and None after each 15 seconds without one."""
    while True:
        outcome = None
        with anyio.move_on_after(_IDLE_S):
            try:
                outcome = await anext(run)
            except StopAsyncIteration:
                return
        yield outcome


def _encode_outcome(
    outcome: Fetched[CostItem] | Failed | None, encode: Callable[[Record], bytes]
) -> Iterator[bytes]:
    """Yield an outcome in chunks of bounded size, each encoded when it is needed."""
    if outcome is None:
        yield encode({"type": "waiting"})
        return
    if isinstance(outcome, Failed):
        result = {"attempts": outcome.attempts, "problem": problem_of(outcome.error)}
        yield encode({"type": "failed", **query_record(outcome.query), **result})
        return
    for start in range(0, len(outcome.items), _CHUNK_ROWS):
        part = msgspec.structs.replace(outcome, items=outcome.items[start : start + _CHUNK_ROWS])
        yield b"".join(encode({"type": "row", **row}) for row in row_records([part]))


def _encode_line(record: Record) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def _encode_event(record: Record) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (str(record["type"]).encode(), msgspec.json.encode(record))


_FORMATS: dict[StreamFormat, tuple[str, Callable[[Record], bytes]]] = {
    "ndjson": ("application/x-ndjson", _encode_line),
    "sse": ("text/event-stream", _encode_event),
}
