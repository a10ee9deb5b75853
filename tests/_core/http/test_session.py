"""The session manager over real sockets: requests on the wire, and their failures."""

import asyncio
import gzip
import pickle
import traceback
import warnings
from datetime import date

import aiohttp
import pytest
from aiohttp import web

from spot_billing_async import (
    AccountFamily,
    ApiError,
    ClientConfig,
    ConfigError,
    CostItem,
    CostPlan,
    CostQuery,
    DeadlineExceededError,
    DecodeError,
    Failed,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ResponseTooLargeError,
    RetryPolicy,
    ServerError,
    SpotBillingClient,
    SpotBillingError,
    TransportError,
)
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async.emulator import Emulator, RateLimit
from spot_billing_async.telemetry import CallEnded, Event, RequestEnded
from tests.support import http, serve, serve_raw, serve_streams

TOKEN = "not-a-real-token"
GOOD = b'{"request":{"id":"r1"},"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
FAST = RetryPolicy(max_attempts=3, backoff_base_s=0.001, backoff_cap_s=0.001)
ONCE = RetryPolicy(max_attempts=1)


def client_of(base_url: str, retry: RetryPolicy = FAST, **limits: float) -> SpotBillingClient:
    config = ClientConfig(retry=retry, **limits)  # type: ignore[arg-type]  # by name, checked there
    return SpotBillingClient(TOKEN, base_url=base_url, config=config)


async def test_the_request_on_the_wire() -> None:
    """A request has bearer token, user agent and encoded query, a body if needed, no cookies."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=GOOD, headers={"Set-Cookie": "a=b"})

    async with serve(handler) as base_url, client_of(base_url) as client:
        for _ in range(2):
            await client.costs.get("a/b&c=d", date(2018, 10, 1), date(2018, 10, 2), "service")
    path, query = seen[1].path_qs.split("?")
    assert path == "/billingEngine/cost"
    assert query == (
        "accountId=a%2Fb%26c%3Dd&fromDate=2018-10-01&toDate=2018-10-02&groupBy=service"
    )
    headers = seen[1].headers
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["User-Agent"].startswith("spot-billing-async/")
    assert "Cookie" not in headers
    assert "Content-Type" not in headers


async def test_every_request_is_counted() -> None:
    """A kept connection that breaks is not silently retried by aiohttp: events report it."""
    heads = 0
    requests: list[Event] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heads
        await reader.readuntil(b"\r\n\r\n")
        heads += 1
        writer.write(http(GOOD))
        await reader.readuntil(b"\r\n\r\n")
        heads += 1
        writer.close()

    async with serve_streams(answer) as port:
        base_url = f"http://127.0.0.1:{port}"
        config = ClientConfig(retry=ONCE)
        async with SpotBillingClient(
            TOKEN, base_url=base_url, config=config, hook=requests.append
        ) as client:
            for _ in range(2):
                assert len(await client.costs.get("a")) == 1
    assert heads == 3
    assert [each.error for each in requests if isinstance(each, RequestEnded)] == [
        *(None, "TransportError", None)
    ]


async def test_leaving_the_client_fails_its_calls() -> None:
    """Calls in flight or queued when the client is left fail with an error that says so."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response(body=GOOD)

    async with serve(handler) as base_url:
        async with client_of(base_url, ONCE, max_concurrency=1) as client:
            calls = [asyncio.create_task(client.costs.get("a")) for _ in range(3)]
            await arrived.wait()
        done = await asyncio.gather(*calls, return_exceptions=True)
        release.set()
    assert [type(error) for error in done] == [TransportError, ConfigError, ConfigError]


def test_a_client_belongs_to_its_event_loop() -> None:
    """A client can be entered again in another loop, but not used there while it is open here."""
    client = client_of("http://127.0.0.1:9", ONCE)

    async def use() -> None:
        async with client:
            with pytest.raises(TransportError):
                await client.costs.get("a")

    async def use_elsewhere() -> None:
        async with client:
            with pytest.raises(ConfigError, match="another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(client.costs.get("a")))

    asyncio.run(use())
    asyncio.run(use())
    asyncio.run(use_elsewhere())


async def test_no_redirect_is_followed() -> None:
    """A redirect is an error: following it would send the token to another host."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with serve(handler) as base_url, client_of(base_url) as client:
        with pytest.raises(ApiError, match="302"):
            await client.costs.get("a")
    assert paths == ["/billingEngine/cost"]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_transient_failure_is_retried(status: int) -> None:
    """An idempotent call is retried after 429 and 5xx, up to `max_attempts`."""
    statuses = [status, status, 200]

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=statuses.pop(0), body=GOOD)

    async with serve(handler) as base_url, client_of(base_url) as client:
        assert len(await client.costs.get("a")) == 1
    assert statuses == []


async def test_the_last_failure_is_raised() -> None:
    """The last failure is raised; `attempts` counts the requests sent."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=503, text="<html>down</html>", headers={"X-Request-Id": "h1"})

    async with serve(handler) as base_url, client_of(base_url) as client:
        with pytest.raises(ServerError) as caught:
            await client.costs.get("a")
    assert (caught.value.attempts, caught.value.request_id) == (3, "h1")
    assert caught.value.body_excerpt == "<html>down</html>"


async def test_a_change_that_may_have_happened_is_not_sent_twice() -> None:
    """A POST is not repeated after a 5xx or a lost connection, but it is after a 429."""
    calls: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(request.method)
        return web.Response(status=500 if len(calls) < 2 else 429 if len(calls) == 2 else 200)

    async with serve(handler) as base_url, client_of(base_url) as client:
        with pytest.raises(ServerError):
            await client.families.create(name="f")
        assert len(calls) == 1
        assert await client.families.create(name="f") == AccountFamily(name="f")
        assert len(calls) == 3
    async with serve_raw(b"") as (base_url, heads), client_of(base_url) as client:
        with pytest.raises(TransportError) as caught:
            await client.families.create(name="f")
        assert len(heads) == 1
        assert caught.value.sent


async def test_a_refusal_holds_back_all_calls() -> None:
    """No other call of the route is sent until the reset of a 429."""
    calls: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(request.path)
        return web.Response(status=429, headers={"X-RateLimit-Reset": "3600"})

    async with serve(handler) as base_url, client_of(base_url, deadline_s=30) as client:
        with pytest.raises(RateLimitedError) as refused:
            await client.costs.get("a")
        assert refused.value.retry_after_s == 3600
        with pytest.raises(DeadlineExceededError, match="resets in") as late:
            await client.costs.get("b")
        assert late.value.attempts == 0
        with pytest.raises(RateLimitedError):
            await client.accounts.list()
        with pytest.raises(RateLimitedError):
            await client.with_token("other").costs.get("b")
    assert calls == ["/billingEngine/cost", "/billingEngine/account", "/billingEngine/cost"]


async def test_a_refusal_holds_back_those_that_queue_for_a_slot() -> None:
    """Calls that waited for a concurrency slot when the 429 arrived are not sent either."""
    calls = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=429, headers={"X-RateLimit-Reset": "3600"})

    async with (
        serve(handler) as base_url,
        client_of(base_url, max_concurrency=2, deadline_s=30) as client,
    ):
        done = await asyncio.gather(
            *(client.costs.get("a") for _ in range(20)), return_exceptions=True
        )
    assert calls <= 2
    assert all(isinstance(error, RateLimitedError | DeadlineExceededError) for error in done)
    attempts = sum(error.attempts for error in done if isinstance(error, SpotBillingError))
    assert attempts == calls


async def test_a_foreign_cancellation_fails_only_its_call() -> None:
    """A provider that awaits a cancelled future fails its call and cancels no task."""
    refresh: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    refresh.cancel()

    async def provider() -> str:
        return await refresh

    config = ClientConfig(retry=FAST)
    async with SpotBillingClient(provider, base_url="http://127.0.0.1:9", config=config) as client:
        with pytest.raises(TransportError, match="awaited something that was cancelled"):
            await client.costs.get("a")
        plan = CostPlan.build(["a", "b", "c"], date(2018, 10, 1), date(2018, 10, 1))
        async with client.costs.pull(plan) as run:
            outcomes = [outcome async for outcome in run]
    assert len(outcomes) == run.report.failed == 3


async def test_a_callers_session_that_is_closed_cancels_nobody() -> None:
    """Calls that queue for a connection of a caller's closed session fail; no task is cancelled."""
    arrived = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(3600)
        return web.Response()

    connector = aiohttp.TCPConnector(limit=1)
    config = ClientConfig(retry=ONCE)
    async with (
        serve(handler) as base_url,
        aiohttp.ClientSession(connector=connector) as session,
        SpotBillingClient(TOKEN, base_url=base_url, session=session, config=config) as client,
    ):
        calls = [asyncio.create_task(client.costs.get("a")) for _ in range(3)]
        await arrived.wait()
        await session.close()
        done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, SpotBillingError) for error in done), done


async def test_only_a_list_has_further_pages() -> None:
    """A change whose response names a next page is not sent again."""
    calls = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(text='{"response":{"items":[],"paginationInfo":{"nextKey":"2"}}}')

    async with serve(handler) as base_url, client_of(base_url) as client:
        with pytest.raises(DecodeError, match="has a next page"):
            await client.families.create(name="n")
    assert calls == 1


async def test_a_failing_token_provider_is_not_asked_for_ever() -> None:
    """Failures of a token provider count as attempts, and nothing is sent."""
    asked = 0

    async def provider() -> str:
        nonlocal asked
        asked += 1
        raise OSError("vault is down")

    config = ClientConfig(retry=FAST)
    async with SpotBillingClient(provider, base_url="http://127.0.0.1:9", config=config) as client:
        with pytest.raises(TransportError, match="token provider failed with OSError") as caught:
            await client.costs.get("a")
    assert (asked, caught.value.attempts) == (3, 0)
    assert caught.value.__notes__ == ["not sent again: 3 attempts were made"]


@pytest.mark.parametrize(
    "answer",
    [
        f"GARBAGE Bearer {TOKEN}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{TOKEN}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nX: {TOKEN}\0\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n".encode(),
        http(f'{{"response":{{"items":[{{"{TOKEN}":1}}]}}}}'.encode()),
        http(f'{{"response":{{"items":[{{"cost":"{TOKEN}"}}]}}}}'.encode()),
        http(TOKEN.encode()),
        http(TOKEN.encode(), f"X-Request-Id: {TOKEN}", status=f"500 {TOKEN}"),
    ],
)
async def test_an_echoed_token_stays_out_of_errors(answer: bytes) -> None:
    """No error shows the token, whichever part of the request a peer sends back."""
    async with serve_raw(answer) as (base_url, _), client_of(base_url, ONCE) as client:
        with pytest.raises(SpotBillingError) as caught:
            await client.costs.get("a")
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in f"{shown} {caught.value!r} {vars(caught.value)}"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        http(GOOD, length=len(GOOD) + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"garbage that is no HTTP\r\n\r\n",
        http(b"no gzip", "Content-Encoding: gzip"),
        http(gzip.compress(GOOD)[:-20], "Content-Encoding: gzip"),
        http(gzip.compress(GOOD)[:12], "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
    ids=[
        "closed",
        "head",
        "length",
        "chunk",
        "size",
        "garbage",
        "encoding",
        "gzip",
        "none",
        "header",
    ],
)
async def test_a_broken_answer_is_an_error_of_this_package(answer: bytes) -> None:
    """No exception of aiohttp or the system escapes; no broken response passes as a good one."""
    async with serve_raw(answer) as (base_url, _), client_of(base_url, ONCE) as client:
        with pytest.raises((TransportError, DecodeError)) as caught:
            await client.costs.get("a")
    error = caught.value
    assert error.__context__ is None
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert TOKEN not in shown
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


async def test_a_broken_connection_is_retried() -> None:
    """A GET whose connection breaks is retried."""
    answers = (b"", http(GOOD, length=len(GOOD) + 1), http(GOOD))
    async with serve_raw(*answers) as (base_url, heads), client_of(base_url) as client:
        assert len(await client.costs.get("a")) == 1
    assert len(heads) == 3


async def test_a_body_that_only_the_closing_ends_must_be_json() -> None:
    """A body without a length that was cut off is recognised by its JSON."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    async with serve_raw(head + GOOD) as (base_url, _), client_of(base_url, ONCE) as client:
        assert len(await client.costs.get("a")) == 1
    async with serve_raw(head + GOOD[:-1]) as (base_url, _), client_of(base_url, ONCE) as client:
        with pytest.raises(DecodeError):
            await client.costs.get("a")
    async with serve_raw(head) as (base_url, _), client_of(base_url, ONCE) as client:
        with pytest.raises(DecodeError, match="cut off"):
            await client.costs.get("a")


async def test_nobody_listens(unused_tcp_port: int) -> None:
    """A refused connection is known not to have reached the server."""
    async with client_of(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(TransportError) as caught:
            await client.families.create(name="f")
    assert not caught.value.sent
    assert caught.value.attempts == 3


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_flood_is_cut(compressed: bool) -> None:
    """A body over `max_response_bytes` after decompression is an error."""
    body = b" " * 1_000_000 + GOOD
    answer = http(gzip.compress(body), "Content-Encoding: gzip") if compressed else http(body)
    async with serve_raw(answer) as (base_url, heads):
        async with client_of(base_url, ONCE, max_response_bytes=999_999) as client:
            with pytest.raises(ResponseTooLargeError, match="max_response_bytes"):
                await client.costs.get("a")
        async with client_of(base_url, max_response_bytes=len(body)) as client:
            assert len(await client.costs.get("a")) == 1
    assert len(heads) == 2


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", http(GOOD, length=10_000)], ids=["none", "head", "body"]
)
async def test_the_deadline_covers_everything(answer: bytes) -> None:
    """A server that falls silent at any point ends in DeadlineExceededError."""
    async with (
        serve_raw(answer, close=False) as (base_url, _),
        client_of(base_url, deadline_s=0.5) as client,
    ):
        with pytest.raises(DeadlineExceededError, match=r"within 0\.5 s") as caught:
            await client.costs.get("a")
    assert caught.value.attempts == 1
    assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_the_deadline_covers_waiting_of_every_kind() -> None:
    """The deadline covers queueing, a slow token provider, back-off, and a second page."""

    async def handler(request: web.Request) -> web.Response:
        match request.query.get("accountId"):
            case "sick":
                return web.Response(status=503)
            case "paged" if "paginationKey" not in request.query:
                return web.Response(
                    text='{"response":{"items":[],"paginationInfo":{"nextKey":"2"}}}'
                )
        await asyncio.sleep(3600)
        return web.Response(body=GOOD)

    async def slow_provider() -> str:
        await asyncio.sleep(3600)
        return "t"

    patient = RetryPolicy(max_attempts=1_000_000, backoff_base_s=0.001, backoff_cap_s=0.001)
    async with (
        serve(handler) as base_url,
        client_of(base_url, patient, max_concurrency=1, deadline_s=0.5) as client,
    ):
        for call in (
            client.costs.get("sick"),
            client.costs.get("paged"),
            client.with_token(slow_provider).costs.get("a"),
        ):
            with pytest.raises((DeadlineExceededError, ServerError)):
                await call
        queued = await asyncio.gather(
            *(client.costs.get("slow") for _ in range(3)), return_exceptions=True
        )
    assert [type(error) for error in queued] == [DeadlineExceededError] * 3
    sent = [error.attempts for error in queued if isinstance(error, DeadlineExceededError)]
    assert sent[0] == 1
    assert 0 in sent  # the slot of one whose deadline is over may still serve the next


async def test_concurrency_is_one_number() -> None:
    """At most `max_concurrency` requests are in flight, however they were started."""
    busy = 0
    most = 0
    full = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        if busy == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        busy -= 1
        return web.Response(body=GOOD)

    async with (
        serve(handler) as base_url,
        aiohttp.ClientSession() as session,
        SpotBillingClient(
            TOKEN, base_url=base_url, session=session, config=ClientConfig(max_concurrency=3)
        ) as client,
    ):
        other = client.with_token("other")
        await asyncio.gather(*(c.costs.get("a") for c in (client, other) for _ in range(9)))
    assert most == 3


async def test_no_slot_is_held_while_waiting_for_a_retry() -> None:
    """With one slot, a call that backs off lets another one through."""

    async def handler(request: web.Request) -> web.Response:
        if request.query.get("accountId") == "sick":
            return web.Response(status=503, headers={"Retry-After": "3600"})
        return web.Response(body=GOOD)

    async with (
        serve(handler) as base_url,
        client_of(base_url, max_concurrency=1, deadline_s=7200) as client,
    ):
        sick = asyncio.create_task(client.costs.get("sick"))
        assert len(await client.costs.get("well")) == 1
        assert len(await client.costs.get("well")) == 1
        sick.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sick


async def test_a_callers_session_is_left_open() -> None:
    """A caller's session stays open, and its defaults do not change the meaning of a status."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async with serve(handler) as base_url, aiohttp.ClientSession(raise_for_status=True) as session:
        async with SpotBillingClient(TOKEN, base_url=base_url, session=session) as client:
            with pytest.raises(NotFoundError):
                await client.costs.get("a")
        assert not session.closed
        await session.close()
        async with SpotBillingClient(TOKEN, base_url=base_url, session=session) as client:
            with pytest.raises(ConfigError, match="not open"):
                await client.costs.get("a")


async def test_a_session_with_its_own_auth_is_refused() -> None:
    """A caller's session with credentials of its own cannot carry the bearer token."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        # On its way out, but in use.
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "password"))
    async with (
        session,
        SpotBillingClient(TOKEN, base_url="http://127.0.0.1:9", session=session) as client,
    ):
        with pytest.raises(ConfigError, match="session: aiohttp refuses the request"):
            await client.costs.get("a")


async def test_the_connector_has_the_same_limit() -> None:
    """The connector keeps at most as many connections as requests may be in flight."""
    async with client_of("http://127.0.0.1:9", max_concurrency=7) as client:
        session = client._shared.transport.session
        assert session is not None
        assert session.connector is not None
        assert session.connector.limit == 7


async def test_a_client_is_used_inside_its_block() -> None:
    """Use before, after, and entering twice are errors; entering again after leaving works."""
    client = client_of("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="inside 'async with'") as caught:
        await client.costs.get("a")
    assert caught.value.attempts == 0
    async with client:
        with pytest.raises(ConfigError, match="entered already"):
            await client.__aenter__()
    with pytest.raises(ConfigError, match="inside 'async with'"):
        await client.with_token("other").costs.get("a")
    async with client:
        pass


async def test_pages_are_followed_within_one_call() -> None:
    """`nextKey` is sent back as `paginationKey`, with the parameters of the query."""
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(dict(request.query))
        key = {None: '"k/1"', "k/1": "2", "2": "null"}[request.query.get("paginationKey")]
        return web.Response(
            text=f'{{"response":{{"items":[{{"cost":{len(seen)}}}],"count":1,'
            f'"paginationInfo":{{"nextKey":{key},"totalCount":3}}}}}}'
        )

    async with serve(handler) as base_url, client_of(base_url) as client:
        items = await client.costs.get("a")
    assert [str(item.cost) for item in items] == ["1", "2", "3"]
    assert seen == [
        {"accountId": "a"},
        {"accountId": "a", "paginationKey": "k/1"},
        {"accountId": "a", "paginationKey": "2"},
    ]


async def test_a_path_can_be_overridden() -> None:
    """A path is overridden by operationId, and ids in it are encoded as usual."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        return web.Response()

    overrides = {
        "listBillingEngineAccounts": "/cloudBilling/v1/setup/account",
        "getAccountFamily": "/v2/{familyId}/family",
    }
    async with (
        serve(handler) as base_url,
        SpotBillingClient(
            TOKEN, base_url=f"{base_url}/proxy/", config=ClientConfig(path_overrides=overrides)
        ) as client,
    ):
        await client.accounts.list()
        await client.families.get("a/../b")
    assert paths == ["/proxy/cloudBilling/v1/setup/account", "/proxy/v2/a%2F..%2Fb/family"]


async def test_cancelling_a_call_frees_its_slot() -> None:
    """A cancelled call leaves no task and no slot taken."""
    release = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        if not release.is_set():
            release.set()
            await asyncio.sleep(3600)
        return web.Response(body=GOOD)

    async with serve(handler) as base_url, client_of(base_url, max_concurrency=1) as client:
        call = asyncio.create_task(client.costs.get("a"))
        await release.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await client.costs.get("a") == [CostItem(cost=1, currency="USD")]  # type: ignore[arg-type]  # 1 == Decimal(1)


async def test_a_bad_request_carries_its_details() -> None:
    """A 400 of the documented shape carries code, message and request id."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(
            status=400,
            text='{"request":{"id":"r9"},"response":{"status":{"message":"Bad Request","code":400},'
            '"errors":[{"field":"query.accountId","message":"is required",'
            '"code":"ValidationError"}]}}',
        )

    async with serve(handler) as base_url, client_of(base_url) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.costs.get()
    error: SpotBillingError = caught.value
    assert str(error) == (
        "getCostAnalysis answered 400 is required [ValidationError] (request id r9)"
    )
    assert error.attempts == 1


async def test_a_garbled_body_is_retried() -> None:
    """A GET whose body cannot be read is retried; an error lists the error of each attempt."""
    async with (
        serve_raw(http(b"{"), http(GOOD)) as (base_url, heads),
        client_of(base_url) as client,
    ):
        assert len(await client.costs.get("a")) == 1
    assert len(heads) == 2
    answers = (http(b"{"), b"", http(b"["))
    async with serve_raw(*answers) as (base_url, heads), client_of(base_url) as client:
        with pytest.raises(DecodeError) as caught:
            await client.costs.get("a")
    assert caught.value.attempts == len(heads) == 3
    assert [met.split(":")[0] for met in caught.value.attempt_errors] == [
        "DecodeError",
        "TransportError",
        "DecodeError",
    ]
    assert pickle.loads(pickle.dumps(caught.value)).attempt_errors == caught.value.attempt_errors


async def test_a_failing_server_is_not_flooded() -> None:
    """If every call fails, all calls together send at most 1.2 requests each."""
    calls = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=500)

    retry = RetryPolicy(backoff_base_s=0.001, backoff_cap_s=0.001)
    plan = CostPlan.build([f"a{i}" for i in range(100)], date(2018, 10, 1), date(2018, 10, 1))
    async with (
        serve(handler) as base_url,
        client_of(base_url, retry, outage_patience_s=0.3) as client,
        client.costs.pull(plan) as run,
    ):
        outcomes = [outcome async for outcome in run]
    assert len(outcomes) == run.report.failed == 100
    assert calls == run.report.requests <= 120


async def test_the_quota_is_kept_to() -> None:
    """A pull over an unknown quota is complete, and almost no request is refused."""
    plan = CostPlan.build(["011254002932"], date(2024, 1, 1), date(2024, 2, 29), "day")
    async with (
        Emulator(token=TOKEN, rate_limit=RateLimit(20, 1.0)) as server,
        client_of(server.base_url) as client,
        client.costs.pull(plan) as run,
    ):
        async for _ in run:
            pass
    assert run.report.complete
    assert run.report.requests - run.report.planned <= 1


async def test_a_pull_has_a_deadline() -> None:
    """Slices that cannot end before the pull's deadline fail at once; the report adds up."""

    async def handler(_: web.Request) -> web.Response:
        headers = {
            "X-RateLimit-Limit": "2",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "60",
        }
        return web.Response(body=GOOD, headers=headers)

    plan = CostPlan.build([f"a{i}" for i in range(100)], date(2018, 10, 1), date(2018, 10, 1))
    async with (
        serve(handler) as base_url,
        client_of(base_url, max_concurrency=2) as client,
        client.costs.pull(plan, deadline_s=30.0) as run,
    ):
        outcomes = [outcome async for outcome in run]
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert {type(outcome.error) for outcome in failed} == {DeadlineExceededError}
    assert (run.report.ok, run.report.failed) == (len(outcomes) - len(failed), len(failed))
    assert run.report.ok + run.report.failed == 100
    assert 1 <= run.report.ok <= 2
    with pytest.raises(ConfigError, match="deadline_s"):
        client.costs.pull(plan, deadline_s=0)


async def test_the_phases_of_a_call_add_up() -> None:
    """A hook receives each request and call, and a call's phases add up to its wall time."""
    events: list[Event] = []

    def hook(event: Event) -> None:
        events.append(event)
        raise LookupError("a broken hook touches no call")

    answers = (b"", http(GOOD))
    async with serve_raw(*answers) as (base_url, _):
        config = ClientConfig(retry=FAST)
        async with SpotBillingClient(TOKEN, base_url=base_url, config=config, hook=hook) as client:
            await client.costs.get("a")
            call = asyncio.create_task(client.costs.get("a", item_type=int))
            with pytest.raises(DecodeError):
                await call
    requests = [event for event in events if isinstance(event, RequestEnded)]
    calls = [event for event in events if isinstance(event, CallEnded)]
    assert [(r.number, r.status, r.error) for r in requests[:2]] == [
        (1, None, "TransportError"),
        (2, 200, None),
    ]
    assert [(c.requests, c.retries, c.error) for c in calls] == [
        (2, 1, None),
        (1, 0, "DecodeError"),
    ]
    for ended in calls:
        assert ended.phases.total_s == pytest.approx(ended.elapsed_s, abs=1e-6)
        assert ended.phases.connect_s > 0
    assert TOKEN not in repr(events)


async def test_a_request_that_was_never_sent_takes_no_place_of_the_quota() -> None:
    """A refused connection does not use up the quota."""
    async with client_of("http://127.0.0.1:9", ONCE) as client:
        with pytest.raises(TransportError):
            await client.costs.get("a")
        (limiter,) = client._shared._limiters.values()
        assert isinstance(limiter, RouteLimiter)
        assert limiter._window.occupied(0.0) == limiter._window.in_flight == 0


async def test_the_deadline_that_is_over_is_named() -> None:
    """The error of a slice names the pull's deadline if that is what ended it."""

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    plan = CostPlan.build(["a"], date(2018, 10, 1), date(2018, 10, 1))
    async with (
        serve(handler) as base_url,
        client_of(base_url, ONCE) as client,
        client.costs.pull(plan, deadline_s=0.05) as run,
    ):
        (outcome,) = [outcome async for outcome in run]
    assert isinstance(outcome, Failed)
    assert "deadline of its pull" in str(outcome.error)


async def test_a_token_that_is_waited_for_holds_no_place() -> None:
    """A tenant's hanging token provider does not keep another tenant from sending."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=GOOD)

    async def hanging() -> str:
        await asyncio.sleep(3600)
        return "never"

    async with serve(handler) as base_url, client_of(base_url, max_concurrency=1) as client:
        stuck = asyncio.create_task(client.with_token(hanging).costs.get("a"))
        await asyncio.sleep(0)
        assert len(await client.costs.get("a")) == 1
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck


async def test_an_async_hook_is_refused() -> None:
    """An async hook is refused, because nothing would await it."""

    async def hook(event: Event) -> None: ...

    class Awaited:
        async def __call__(self, event: Event) -> None: ...

    for refused in (hook, Awaited()):
        with pytest.raises(ConfigError, match="hook must be a plain function of an event, got "):
            SpotBillingClient(TOKEN, hook=refused)  # type: ignore[arg-type]  # that is the point


async def test_a_refused_slice_waits_for_the_reset_as_its_neighbours_do() -> None:
    """Waiting for a reset after a refusal does not count against the slice's own deadline."""
    opens_s = 0.0

    async def handler(_: web.Request) -> web.Response:
        nonlocal opens_s
        now_s = asyncio.get_running_loop().time()
        opens_s = opens_s or now_s + 0.9
        if now_s < opens_s:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.json_response({"response": {"items": []}})

    async with (
        serve(handler) as base_url,
        client_of(base_url, deadline_s=0.5, max_concurrency=2) as client,
        client.costs.pull([CostQuery(account_id=name) for name in "abc"]) as run,
    ):
        async for _ in run:
            pass
    assert (run.report.failed, run.report.empty) == (0, 3)


async def test_a_slice_is_not_refused_for_ever() -> None:
    """After several refusals of the same slice its waits count against its deadline."""
    calls = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=429, headers={"Retry-After": "0.001"})

    retry = RetryPolicy(backoff_base_s=0.001)
    async with (
        serve(handler) as base_url,
        client_of(base_url, deadline_s=0.5, retry=retry) as client,
        client.costs.pull([CostQuery(account_id="a")]) as run,
    ):
        (outcome,) = [outcome async for outcome in run]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, RateLimitedError)
    assert 9 <= calls <= 13


async def test_a_tiny_retry_after_is_not_a_hot_loop() -> None:
    """Pauses grow although each refusal asks for a wait of a moment only."""
    calls = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=429, headers={"Retry-After": "0.0001"})

    retry = RetryPolicy(backoff_base_s=0.1)
    async with serve(handler) as base_url, client_of(base_url, retry, deadline_s=1) as client:
        with pytest.raises(RateLimitedError):
            await client.accounts.list()
    assert calls <= 6
