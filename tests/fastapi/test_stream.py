"""The costs of a pull as a stream: whole and exact, slow for a slow caller, over when it leaves."""

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
from spot_billing_async.fastapi.stream import _CHUNK_ROWS, _chunks_of, _line
from spot_billing_async.testing import ClientArguments
from tests.fastapi.conftest import TOKEN
from tests.support import serve, serve_app

FIRST, LAST = date(2024, 1, 1), date(2024, 3, 31)
ACCOUNT = "011254002932"


def plan_of(accounts: list[str]) -> CostPlan:
    return CostPlan.build(accounts, FIRST, LAST, "month", "service")


class Caller:
    """An app's caller as the app sees it: it takes messages in, and leaves when it is told to.

    Args:
        room: how many messages it takes; then it takes none, as one that reads no more.
        spec: the version of ASGI's HTTP that its server speaks.
    """

    def __init__(self, spec: str = "2.3", room: int = 1_000_000) -> None:
        self.scope: Scope = {"type": "http", "asgi": {"spec_version": spec}}
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self.full = asyncio.Event()
        self._room = room

    async def receive(self) -> Message:
        """What the caller does: after all it has asked, it may leave."""
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message in, while there is room."""
        self.sent.append(message)
        if len(self.sent) == self._room:
            self.full.set()
            await asyncio.Event().wait()

    def lines(self) -> list[Any]:
        """The objects of a body of JSON lines."""
        return [msgspec.json.decode(line) for line in self.body().splitlines()]

    def body(self) -> bytes:
        """All of the body so far."""
        return b"".join(message.get("body", b"") for message in self.sent)


@asynccontextmanager
async def left_as_found() -> AsyncIterator[None]:
    """Afterwards there are the tasks that there were before."""
    before = tasks()
    yield
    assert tasks() == before


def tasks() -> set[asyncio.Task[Any]]:
    """All but those of the emulator's, one for each connection that is kept alive."""
    of_the_emulator = "RequestHandler.start"
    return {task for task in asyncio.all_tasks() if of_the_emulator not in repr(task.get_coro())}


def in_use(client: SpotBillingClient) -> int:
    """How many connections carry a request."""
    connector = client._connections._opened().connector
    assert connector is not None
    return len(connector._acquired)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another party does in its own time."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.001)


@pytest.fixture
async def client(arguments: ClientArguments) -> AsyncIterator[SpotBillingClient]:
    """A client of the emulator."""
    async with SpotBillingClient(**arguments, config=ClientConfig(max_concurrency=4)) as client:
        yield client


async def test_a_stream_is_the_whole_pull(client: SpotBillingClient) -> None:
    """Each row with its exact cost; the last object is the report, whose totals they come to."""
    caller = Caller()
    response = stream_costs(client.costs.pull(plan_of([ACCOUNT, "spot-sample-01"])))
    await response(caller.scope, caller.receive, caller.send)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert caller.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    *rows, report = caller.lines()
    items = await client.costs.get(ACCOUNT, FIRST, LAST, "service")
    mine = [row for row in rows if row["query_account_id"] == ACCOUNT]
    assert sorted(Decimal(row["cost"]) for row in mine) == sorted(
        item.cost for item in items if item.cost is not None
    )
    assert {row["type"] for row in rows} == {"row"}
    totals = {"USD": format(sum(Decimal(row["cost"]) for row in rows), "f").rstrip("0")}
    told = (report["type"], report["complete"], report["rows"], report["totals"])
    assert told == ("report", True, len(rows), totals)
    assert (report["planned"], report["ok"]) == (6, 6)


async def test_server_sent_events_carry_the_same(client: SpotBillingClient) -> None:
    """Each event is named like its object's type, and its data is one line."""
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


async def test_a_head_is_answered_without_a_pull(client: SpotBillingClient) -> None:
    """Its caller wants no costs: nothing is asked of the API."""
    caller = Caller()
    run = client.costs.pull(plan_of([ACCOUNT]))
    response = stream_costs(run)
    await response({**caller.scope, "method": "HEAD"}, caller.receive, caller.send)
    start, *_ = caller.sent
    assert (b"content-type", b"application/x-ndjson") in start["headers"]
    assert (caller.body(), run.report.requests, run.report.not_started) == (b"", 0, 3)


async def test_a_failed_slice_says_so(client: SpotBillingClient) -> None:
    """What was asked, and the problem; the others come, and the report is not complete."""
    caller = Caller()
    response = stream_costs(client.costs.pull(plan_of([ACCOUNT, "nowhere"]), ordered=True))
    await response(caller.scope, caller.receive, caller.send)
    *_, failed, report = caller.lines()
    assert failed["type"] == "failed"
    assert (failed["query_account_id"], failed["query_from"]) == ("nowhere", "2024-03-01")
    assert (failed["group_by"], failed["attempts"]) == ("service", 1)
    assert (failed["problem"]["status"], failed["problem"]["error"]) == (404, "NotFoundError")
    assert (report["ok"], report["failed"], report["complete"]) == (3, 3, False)


async def test_a_stream_that_waits_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that nothing came for a while; what comes then is all there."""
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


async def test_another_format_is_refused(client: SpotBillingClient) -> None:
    """The error names those that there are; the run is as it was."""
    run = client.costs.pull(plan_of([ACCOUNT]))
    with pytest.raises(ConfigError, match="format: 'xml' is unknown; allowed: ndjson, sse"):
        stream_costs(run, "xml")  # type: ignore[arg-type]  # what is refused
    async with run:
        pass


async def test_a_stream_that_nobody_sends_has_begun_nothing(client: SpotBillingClient) -> None:
    """A response may be dropped, by a middleware say, before it is sent."""
    async with left_as_found():
        stream_costs(client.costs.pull(plan_of([ACCOUNT])))


@given(rows=st.integers(0, 3 * _CHUNK_ROWS))
def test_a_slice_of_any_size_is_sent_in_bounded_pieces(rows: int) -> None:
    """Together they are all of its rows, in order."""
    items = [CostItem(cost=Decimal(i)) for i in range(rows)]
    chunks = list(_chunks_of(Fetched(CostQuery(), items, None, 1, 0.1), _line))
    assert all(chunk.count(b"\n") <= _CHUNK_ROWS for chunk in chunks)
    lines = [msgspec.json.decode(line) for line in b"".join(chunks).splitlines()]
    assert [line["cost"] for line in lines] == [str(i) for i in range(rows)]


def test_a_failed_slice_shows_none_of_the_backends_insides() -> None:
    """It is told as an answer of the app would be."""
    failed = Failed(CostQuery(), TransportError("proxy.internal.example is gone"), 1, 0.1)
    (chunk,) = _chunks_of(failed, _line)
    assert b"internal" not in chunk


@pytest.mark.parametrize("spec", ["2.0", "2.3", "2.4"])
async def test_a_caller_that_leaves_while_nothing_comes_ends_the_pull(spec: str) -> None:
    """Whatever the server's ASGI: no task, no connection in use; the API sees the requests end."""
    async with (
        Emulator(token=TOKEN, latency="600s") as server,
        SpotBillingClient(TOKEN, base_url=server.base_url) as client,
        left_as_found(),
    ):
        caller = Caller(spec)
        response = stream_costs(client.costs.pull(plan_of([ACCOUNT])))
        streaming = asyncio.create_task(response(caller.scope, caller.receive, caller.send))
        await until(lambda: server.under_way == 3)
        caller.left.set()
        await streaming
        assert [message["type"] for message in caller.sent] == ["http.response.start"]
        assert in_use(client) == 0
        await until(lambda: server.under_way == 0)
        assert server.abandoned == 3


@pytest.mark.parametrize("after", range(1, 5))
async def test_a_send_that_fails_ends_the_pull(client: SpotBillingClient, after: int) -> None:
    """Servers of ASGI's HTTP 2.4 raise an OSError to whoever writes to nobody."""
    caller = Caller("2.4")

    async def send(message: Message) -> None:
        await caller.send(message)
        if len(caller.sent) == after:
            raise ConnectionResetError

    async with left_as_found():
        run = client.costs.pull(plan_of([ACCOUNT]))
        await stream_costs(run)(caller.scope, caller.receive, send)
    assert len(caller.sent) == after
    assert in_use(client) == 0


@pytest.mark.parametrize("room", [2, 3, 4])
async def test_a_slow_caller_slows_the_pull_down(arguments: ClientArguments, room: int) -> None:
    """What is fetched ahead of it is bounded by the crew, however long the plan."""
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
        while requests != run.report.requests:  # until it stands still
            requests = run.report.requests
            await asyncio.sleep(0.05)
        # Those that were sent, those that wait to be, and those of the crew.
        assert requests <= room - 1 + 2 * 2 + 2
        caller.left.set()
        await streaming
        assert in_use(client) == 0


async def test_a_pull_that_breaks_off_has_no_last_object() -> None:
    """The app's server then cuts the answer off: nobody takes a part for the whole."""

    class Broken(PullRun[CostItem]):
        async def __anext__(self) -> Fetched[CostItem] | Failed:
            raise SpotBillingError("the pull ended before its plan did")

    async def fetch(*_: object) -> Any:
        await asyncio.Event().wait()

    caller = Caller()
    run = Broken([CostQuery()], fetch, worker_count=1)
    async with left_as_found():
        with pytest.raises(SpotBillingError, match="before its plan did"):
            await stream_costs(run)(caller.scope, caller.receive, caller.send)
    assert caller.body() == b""


async def test_what_is_to_be_done_after_it_is_done(client: SpotBillingClient) -> None:
    """A background task runs once the stream is over, as with any response."""
    done: list[str] = []
    caller = Caller()
    response = stream_costs(client.costs.pull(plan_of([ACCOUNT])))
    response.background = BackgroundTask(done.append, "done")
    await response(caller.scope, caller.receive, caller.send)
    assert done == ["done"]


@pytest.mark.parametrize("wrapped", [False, True])
async def test_under_uvicorn_a_caller_that_leaves_ends_the_pull(wrapped: bool) -> None:
    """Over sockets; also through a middleware that hands the answer on itself."""
    async with Emulator(token=TOKEN, latency="600s") as server:
        arguments = {"token": TOKEN, "base_url": server.base_url}
        clients: list[SpotBillingClient] = []
        app = FastAPI(lifespan=spot_billing_lifespan(**arguments))
        if wrapped:
            app.add_middleware(BaseHTTPMiddleware, dispatch=_handed_on)

        @app.get("/costs")
        async def costs(client: SpotBilling) -> CostStream:
            clients.append(client)
            return stream_costs(client.costs.pull(plan_of([ACCOUNT])))

        async with serve_app(app) as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/costs") as answer:
                assert answer.status == 200
                await until(lambda: server.under_way == 3)
                answer.close()
            await until(lambda: server.abandoned == 3)
            await until(lambda: in_use(clients[0]) == 0)
            assert server.under_way == 0


async def _handed_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def test_a_client_that_is_closed_leaves_no_slice_untold() -> None:
    """In the midst of a stream its slices fail, and the report is not complete."""
    app = FastAPI()
    begun = asyncio.Event()
    clients: list[SpotBillingClient] = []

    async def answer(_: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    @app.get("/costs")
    async def costs() -> CostStream:
        return stream_costs(clients[0].costs.pull(plan_of([ACCOUNT])))

    async with serve(answer) as base_url:
        clients.append(await SpotBillingClient(TOKEN, base_url=base_url).__aenter__())
        async with serve_app(app) as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/costs") as reply:
                await begun.wait()
                await clients[0].__aexit__(None, None, None)
                lines = (await reply.read()).splitlines()
            told = [msgspec.json.decode(line) for line in lines]
            assert [line["type"] for line in told] == ["failed"] * 3 + ["report"]
            assert not told[-1]["complete"]
