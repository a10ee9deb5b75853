"""The costs of a pull as a stream that its caller may leave at any moment."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Literal

import anyio
import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport
from spot_billing_async.bulk.records import Record, query_record, report_record, row_records
from spot_billing_async.bulk.run import PullRun
from spot_billing_async.errors import ArgumentError
from spot_billing_async.fastapi.problems import problem_of
from spot_billing_async.models import CostItem

_CHUNK_ROWS = 200  # some 60 KB: they take well under a millisecond to spell
_IDLE_S = 15.0
"""Seconds of silence at most: proxies cut off what is silent for a minute, and who writes nothing
never learns that a caller's network is gone."""

StreamFormat = Literal["ndjson", "sse"]


def stream_costs(
    run: PullRun[CostItem],
    format: StreamFormat = "ndjson",  # noqa: A002  the word for it
) -> "CostStream":
    """A response that makes a pull, and sends its rows as they come.

    It is a sequence of JSON objects, a line each; with "sse", each is the data of an event that is
    named like its `type`:

    - "row": the columns of an export; the cost is text, exact;
    - "failed": a slice that is missing: what was asked, requests sent, and the `problem`;
    - "waiting": nothing else came for 15 seconds, while the pull waits for the API or its quota;
    - "report": the last one: the books of the pull, and whether it is `complete`. A stream without
      it was cut off. A browser's `EventSource` opens a stream anew that ends: close it here.

    A slow caller slows the pull down, with a bounded number of rows in memory; a caller that leaves
    ends it, requests under way included.

    Args:
        run: what `client.costs.pull` returns, not entered: the response does that.
        format: "ndjson" or "sse" (server-sent events).

    Raises:
        ArgumentError: the format is another one.
    """
    if format not in _FORMATS:
        raise ArgumentError(f"format: {format!r} is unknown; allowed: {', '.join(_FORMATS)}")
    return CostStream(run, format)


class CostStream(StreamingResponse):
    """What `stream_costs` returns."""

    def __init__(self, run: PullRun[CostItem], form: StreamFormat) -> None:
        media_type, spelled = _FORMATS[form]
        # The second is nginx's word for a response that is to be passed on as it comes.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self._chunks = _chunks(run, spelled)
        super().__init__(self._chunks, headers=headers, media_type=media_type)

    async def stream_response(self, send: Send) -> None:
        """Send it all; the pull is over in any case then."""
        async with aclosing(self._chunks):
            await super().stream_response(send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it until its end, or until the caller leaves.

        Starlette leaves it to `send` to find out with servers of ASGI's HTTP 2.4 or newer. A pull
        may have nothing to send for a long time, so here `receive` is listened to with any. A HEAD
        is for the head alone: no pull is made for it.
        """
        if scope.get("method") == "HEAD":
            self.body_iterator = _nothing()
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_with_caller, receive, tasks.cancel_scope)
            try:
                await self.stream_response(send)
            except OSError:
                pass  # the server's way to say that the caller has left
            except Exception as error:  # noqa: BLE001  raised below, as it is and not in a group
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if self.background is not None:
            await self.background()

    async def _end_with_caller(self, receive: Receive, streaming: anyio.CancelScope) -> None:
        await self.listen_for_disconnect(receive)
        streaming.cancel()


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


async def _chunks(
    run: PullRun[CostItem], spelled: Callable[[Record], bytes]
) -> AsyncGenerator[bytes, None]:
    async with run, aclosing(_outcomes(run)) as outcomes:
        async for outcome in outcomes:
            for chunk in _chunks_of(outcome, spelled):
                yield chunk
                await asyncio.sleep(0)  # a server that has room for it does not pause by itself
    yield spelled(_report(run.report))


async def _outcomes(
    run: PullRun[CostItem],
) -> AsyncGenerator[Fetched[CostItem] | Failed | None, None]:
    """The outcomes of a run; None each time that there was none for a while."""
    while True:
        outcome = None
        with anyio.move_on_after(_IDLE_S):
            try:
                outcome = await anext(run)
            except StopAsyncIteration:
                return
        yield outcome


def _chunks_of(
    outcome: Fetched[CostItem] | Failed | None, spelled: Callable[[Record], bytes]
) -> Iterator[bytes]:
    """An outcome in pieces of bounded size, each made when it is its turn."""
    if outcome is None:
        yield spelled({"type": "waiting"})
        return
    if isinstance(outcome, Failed):
        yield spelled(_failure(outcome))
        return
    for start in range(0, len(outcome.items), _CHUNK_ROWS):
        part = msgspec.structs.replace(outcome, items=outcome.items[start : start + _CHUNK_ROWS])
        yield b"".join(spelled({"type": "row", **row}) for row in row_records([part]))


def _failure(outcome: Failed) -> Record:
    told = {"attempts": outcome.attempts, "problem": problem_of(outcome.error)}
    return {"type": "failed", **query_record(outcome.query), **told}


def _report(report: PullReport) -> Record:
    return {"type": "report", "complete": report.complete, **report_record(report)}


def _line(record: Record) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def _event(record: Record) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (str(record["type"]).encode(), msgspec.json.encode(record))


_FORMATS: dict[StreamFormat, tuple[str, Callable[[Record], bytes]]] = {
    "ndjson": ("application/x-ndjson", _line),
    "sse": ("text/event-stream", _event),
}
