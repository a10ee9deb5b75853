"""`stream_costs`: complete, exact, as slow as its caller, and ended when the caller leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.types import Message, Scope

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostItem,
    CostPlan,
    CostQuery,
    Failed,
    Fetched,
    PullRun,
    SpotBillingClient,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.emulator import Emulator
from spot_billing_async.fastapi import (
    CostStream,
    SpotBilling,
    spot_billing_lifespan,
    stream,
    stream_costs,
)
from spot_billing_async.fastapi.stream import _CHUNK_ROWS, _encode_line, _encode_outcome
from spot_billing_async.testing import ClientArguments
from tests.fastapi.conftest import TOKEN
from tests.support import serve, serve_app

FIRST, LAST = date(2024, 1, 1), date(2024, 3, 31)
ACCOUNT = "011254002932"


def plan_of(accounts: list[str]) -> CostPlan:
    """Return a plan of three months by service: three slices for each account."""
    return CostPlan.build(accounts, FIRST, LAST, "month", "service")


class Caller:
    """Caller of an app at the ASGI interface; it leaves when `left` is set.

    Args:
        spec: ASGI HTTP version of its server.
        room: number of messages that it accepts; later ones block, as of a caller that stops
            reading.

    Attributes:
        scope: scope of the request.
        sent: messages that the app sent.
        left: set by a test to make the caller leave.
        full: set when `room` messages were accepted.
    """

    def __init__(self, spec: str = "2.3", room: int = 1_000_000) -> None:
        self.scope: Scope = {"type": "http", "asgi": {"spec_version": spec}}
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self.full = asyncio.Event()
        self._room = room

    async def receive(self) -> Message:
        """Wait until the caller leaves, and return the message for that."""
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Accept a message; block for good at the last one that `room` allows."""
        self.sent.append(message)
        if len(self.sent) == self._room:
            self.full.set()
            await asyncio.Event().wait()

    def lines(self) -> list[Any]:
        """Return the objects of a body of JSON lines."""
        return [msgspec.json.decode(line) for line in self.body().splitlines()]

    def body(self) -> bytes:
        """Return the body so far."""
        return b"".join(message.get("body", b"") for message in self.sent)


@asynccontextmanager
async def leaves_no_task() -> AsyncIterator[None]:
    """Check that the block leaves no task behind."""
    before = running_tasks()
    yield
    assert running_tasks() == before


def running_tasks() -> set[asyncio.Task[Any]]:
    """Return all tasks but those of the emulator, one for each connection kept alive."""
    emulator_task = "RequestHandler.start"
    return {task for task in asyncio.all_tasks() if emulator_task not in repr(task.get_coro())}


def connections_in_use(client: SpotBillingClient) -> int:
    """Return the number of connections that carry a request."""
    session = client._shared.transport.session
    assert session is not None
    connector = session.connector
    assert connector is not None
    return len(connector._acquired)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, 20 seconds at most."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  a condition without an event
            await asyncio.sleep(0.001)


@pytest.fixture
async def client(arguments: ClientArguments) -> AsyncIterator[SpotBillingClient]:
    """Open a client of the emulator."""
    async with SpotBillingClient(**arguments, config=ClientConfig(max_concurrency=4)) as client:
        yield client


async def test_a_stream_is_the_complete_pull(client: SpotBillingClient) -> None:
    """A stream has all rows with exact costs; the report at its end has their totals."""
    caller = Caller()
    response = stream_costs(client.costs.pull(plan_of([ACCOUNT, "spot-sample-01"])))
    await response(caller.scope, caller.receive, caller.send)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert caller.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    *rows, report = caller.lines()
    items = await client.costs.get(ACCOUNT, FIRST, LAST, "service")
    own = [row for row in rows if row["query_account_id"] == ACCOUNT]
    assert sorted(Decimal(row["cost"]) for row in own) == sorted(item.cost for item in items)
    assert {row["type"] for row in rows} == {"row"}
    totals = {"USD": format(sum(Decimal(row["cost"]) for row in rows), "f").rstrip("0")}
    summary = (report["type"], report["complete"], report["rows"], report["totals"])
    assert summary == ("report", True, len(rows), totals)
    assert (report["planned"], report["ok"]) == (6, 6)


async def test_server_sent_events_carry_the_same(client: SpotBillingClient) -> None:
    """A server-sent event is named like the type of its object; its data is one line."""
    caller = Caller()
    response = stream_costs(client.costs.pull(plan_of([ACCOUNT])), format="sse")
    await response(caller.scope, caller.receive, caller.send)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = caller.body().decode().removesuffix("\n\n").split("\n\n")
    names = []
    for event in events:
        name, data = event.split("\n")
        names.append(name.removeprefix("event: "))
        assert msgspec.json.decode(data.removeprefix("data: "))["type"] == names[-1]
    assert (set(names[:-1]), names[-1]) == ({"row"}, "report")


async def test_a_head_request_makes_no_pull(client: SpotBillingClient) -> None:
    """A HEAD request gets the headers, and sends no request to the API."""
    caller = Caller()
    run = client.costs.pull(plan_of([ACCOUNT]))
    response = stream_costs(run)
    await response({**caller.scope, "method": "HEAD"}, caller.receive, caller.send)
    start, *_ = caller.sent
    assert (b"content-type", b"application/x-ndjson") in start["headers"]
    assert (caller.body(), run.report.requests, run.report.not_started) == (b"", 0, 3)


async def test_a_failed_slice_is_in_the_stream(client: SpotBillingClient) -> None:
    """A failed slice has its query and its problem; the report is not complete."""
    caller = Caller()
    response = stream_costs(client.costs.pull(plan_of([ACCOUNT, "nowhere"]), ordered=True))
    await response(caller.scope, caller.receive, caller.send)
    *_, failed, report = caller.lines()
    assert failed["type"] == "failed"
    assert (failed["query_account_id"], failed["query_from"]) == ("nowhere", "2024-03-01")
    assert (failed["group_by"], failed["attempts"]) == ("service", 1)
    assert (failed["problem"]["status"], failed["problem"]["error"]) == (404, "NotFoundError")
    assert (report["ok"], report["failed"], report["complete"]) == (3, 3, False)


async def test_a_waiting_stream_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without outcomes sends 'waiting', and loses no row."""
    monkeypatch.setattr(stream, "_IDLE_S", 0.001)
    caller = Caller()
    async with (
        Emulator(token=TOKEN, latency="50ms±30ms") as slow,
        SpotBillingClient(TOKEN, base_url=slow.base_url) as client,
    ):
        run = client.costs.pull(plan_of([ACCOUNT, "spot-sample-01"]))
        await stream_costs(run)(caller.scope, caller.receive, caller.send)
    types = [line["type"] for line in caller.lines()]
    assert types.count("waiting") > 1
    report = caller.lines()[-1]
    assert report["complete"]
    assert types.count("row") == report["rows"] > 0


async def test_an_unknown_format_is_an_error(client: SpotBillingClient) -> None:
    """The error for an unknown format names those allowed, and the run stays usable."""
    run = client.costs.pull(plan_of([ACCOUNT]))
    with pytest.raises(ConfigError, match="format must be one of 'ndjson', 'sse', got 'xml'"):
        stream_costs(run, "xml")  # type: ignore[arg-type]  # what is refused
    async with run:
        pass


async def test_an_unsent_response_starts_no_pull(client: SpotBillingClient) -> None:
    """A response that is dropped, for example by a middleware, starts no task."""
    async with leaves_no_task():
        stream_costs(client.costs.pull(plan_of([ACCOUNT])))


@given(rows=st.integers(0, 3 * _CHUNK_ROWS))
def test_a_slice_is_sent_in_bounded_chunks(rows: int) -> None:
    """Chunks have a bounded number of rows, and together all rows in order."""
    items = [CostItem(cost=Decimal(i)) for i in range(rows)]
    chunks = list(_encode_outcome(Fetched(CostQuery(), items, None, 1, 0.1), _encode_line))
    assert all(chunk.count(b"\n") <= _CHUNK_ROWS for chunk in chunks)
    lines = [msgspec.json.decode(line) for line in b"".join(chunks).splitlines()]
    assert [line["cost"] for line in lines] == [str(i) for i in range(rows)]


def test_a_failed_slice_shows_no_internals() -> None:
    """The problem of a failed slice has a fixed text, as in a response."""
    failed = Failed(CostQuery(), TransportError("proxy.internal.example is gone"), 1, 0.1)
    (chunk,) = _encode_outcome(failed, _encode_line)
    assert b"internal" not in chunk


@pytest.mark.parametrize("spec", ["2.0", "2.3", "2.4"])
async def test_a_caller_that_leaves_a_waiting_stream_ends_the_pull(spec: str) -> None:
    """On every ASGI version no task and no connection is left, and the API sees requests end."""
    async with (
        Emulator(token=TOKEN, latency="600s") as server,
        SpotBillingClient(TOKEN, base_url=server.base_url) as client,
        leaves_no_task(),
    ):
        caller = Caller(spec)
        response = stream_costs(client.costs.pull(plan_of([ACCOUNT])))
        streaming = asyncio.create_task(response(caller.scope, caller.receive, caller.send))
        await until(lambda: server.under_way == 3)
        caller.left.set()
        await streaming
        assert [message["type"] for message in caller.sent] == ["http.response.start"]
        assert connections_in_use(client) == 0
        await until(lambda: server.under_way == 0)
        assert server.abandoned == 3


@pytest.mark.parametrize("after", range(1, 5))
async def test_a_failing_send_ends_the_pull(client: SpotBillingClient, after: int) -> None:
    """An OSError of `send`, as of ASGI HTTP 2.4 after the caller left, ends the pull silently."""
    caller = Caller("2.4")

    async def send(message: Message) -> None:
        await caller.send(message)
        if len(caller.sent) == after:
            raise ConnectionResetError

    async with leaves_no_task():
        run = client.costs.pull(plan_of([ACCOUNT]))
        await stream_costs(run)(caller.scope, caller.receive, send)
    assert len(caller.sent) == after
    assert connections_in_use(client) == 0


@pytest.mark.parametrize("room", [2, 3, 4])
async def test_a_slow_caller_slows_the_pull_down(arguments: ClientArguments, room: int) -> None:
    """The number of slices fetched ahead of the caller is bounded by the workers."""
    config = ClientConfig(max_concurrency=2)
    async with SpotBillingClient(**arguments, config=config) as client:
        caller = Caller(room=room)
        plan = CostPlan.build([ACCOUNT], date(2024, 1, 1), date(2024, 12, 31), "day", "service")
        run = client.costs.pull(plan)
        streaming = asyncio.create_task(
            stream_costs(run)(caller.scope, caller.receive, caller.send)
        )
        await caller.full.wait()
        requests = -1
        while requests != run.report.requests:  # until no request is sent any more
            requests = run.report.requests
            await asyncio.sleep(0.05)
        # Slices sent, slices in the buffer, and slices that workers hold.
        assert requests <= room - 1 + 2 * 2 + 2
        caller.left.set()
        await streaming
        assert connections_in_use(client) == 0


async def test_a_broken_pull_has_no_report() -> None:
    """A pull that breaks raises, so that the server cuts the response off before a report."""

    class Broken(PullRun[CostItem]):
        async def __anext__(self) -> Fetched[CostItem] | Failed:
            raise SpotBillingError("the pull ended before its plan did")

    async def fetch(*_: object) -> Any:
        await asyncio.Event().wait()

    caller = Caller()
    run = Broken([CostQuery()], fetch, worker_count=1)
    async with leaves_no_task():
        with pytest.raises(SpotBillingError, match="before its plan did"):
            await stream_costs(run)(caller.scope, caller.receive, caller.send)
    assert caller.body() == b""


async def test_a_background_task_runs_after_the_stream(client: SpotBillingClient) -> None:
    """A background task runs when the stream has ended, as with any response."""
    done: list[str] = []
    caller = Caller()
    response = stream_costs(client.costs.pull(plan_of([ACCOUNT])))
    response.background = BackgroundTask(done.append, "done")
    await response(caller.scope, caller.receive, caller.send)
    assert done == ["done"]


@pytest.mark.parametrize("wrapped", [False, True])
async def test_under_uvicorn_a_caller_that_leaves_ends_the_pull(wrapped: bool) -> None:
    """A caller that leaves over a socket ends the pull, also through a wrapping middleware."""
    async with Emulator(token=TOKEN, latency="600s") as server:
        arguments = {"token": TOKEN, "base_url": server.base_url}
        clients: list[SpotBillingClient] = []
        app = FastAPI(lifespan=spot_billing_lifespan(**arguments))
        if wrapped:
            app.add_middleware(BaseHTTPMiddleware, dispatch=_call_next)

        @app.get("/costs")
        async def costs(client: SpotBilling) -> CostStream:
            clients.append(client)
            return stream_costs(client.costs.pull(plan_of([ACCOUNT])))

        async with serve_app(app) as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/costs") as response:
                assert response.status == 200
                await until(lambda: server.under_way == 3)
                response.close()
            await until(lambda: server.abandoned == 3)
            await until(lambda: connections_in_use(clients[0]) == 0)
            assert server.under_way == 0


async def _call_next(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def test_closing_the_client_fails_the_slices_of_a_stream() -> None:
    """A client closed during a stream fails every slice, and the report is not complete."""
    app = FastAPI()
    started = asyncio.Event()
    clients: list[SpotBillingClient] = []

    async def respond(_: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    @app.get("/costs")
    async def costs() -> CostStream:
        return stream_costs(clients[0].costs.pull(plan_of([ACCOUNT])))

    async with serve(respond) as base_url:
        clients.append(await SpotBillingClient(TOKEN, base_url=base_url).__aenter__())
        async with serve_app(app) as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/costs") as response:
                await started.wait()
                await clients[0].__aexit__(None, None, None)
                lines = (await response.read()).splitlines()
            sent = [msgspec.json.decode(line) for line in lines]
            assert [line["type"] for line in sent] == ["failed"] * 3 + ["report"]
            assert not sent[-1]["complete"]
