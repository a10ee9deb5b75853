"""Spans and metrics, read back from an exporter and a reader in memory."""

import asyncio
import subprocess
import sys
from datetime import date
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.metrics.http_metrics import HTTP_CLIENT_REQUEST_DURATION
from opentelemetry.trace import StatusCode

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    NotFoundError,
    RetryPolicy,
    SpotBillingClient,
    TransportError,
)
from spot_billing_async.emulator import Emulator
from spot_billing_async.otel import OpenTelemetryHook
from spot_billing_async.telemetry import CacheRead, CallEnded, Phases, RequestEnded
from tests.events import call_ended, request_ended
from tests.exported import Exported, assert_tree, attribute, children, id_of
from tests.support import http, serve, serve_raw

TOKEN = "8f1d0c7ab2e94563-not-a-real-token"
GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
FROM, TO = date(2025, 1, 1), date(2025, 3, 31)
PATIENT = ClientConfig(retry=RetryPolicy(max_attempts=20, backoff_base_s=0.001))


async def test_a_call_of_many_pages_is_a_span_with_a_child_per_page() -> None:
    """Spans are children of the caller's and follow the HTTP conventions; pages are not resends."""
    exported = Exported()
    tracer = exported.tracers.get_tracer("caller")
    async with (
        Emulator(token=TOKEN, page_size=5) as server,
        SpotBillingClient(TOKEN, base_url=server.base_url, hook=exported.hook()) as client,
    ):
        with tracer.start_as_current_span("caller") as caller:
            accounts = await client.accounts.list()
        port = int(server.base_url.rpartition(":")[2])
    assert isinstance(caller, ReadableSpan)
    assert_tree(exported, caller)
    (call,) = exported.calls
    assert (call.name, call.status.status_code) == ("listBillingEngineAccounts", StatusCode.UNSET)
    assert attribute(call, "spot_billing.rows") == len(accounts)
    assert caller.start_time is not None
    assert call.start_time is not None
    assert caller.start_time <= call.start_time
    assert len(exported.requests) == -(-len(accounts) // 5)
    for request in exported.requests:
        assert request.name == "GET /billingEngine/account"
        assert request.status.status_code is StatusCode.UNSET
        exported_values = dict(request.attributes or {})
        assert exported_values.pop("http.response.body.size")
        assert exported_values.pop(url_attributes.URL_FULL) in {
            f"http://127.0.0.1:{port}/billingEngine/account{query}"
            for query in ("", "?paginationKey=REDACTED")
        }
        assert exported_values == {
            http_attributes.HTTP_REQUEST_METHOD: "GET",
            http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
            server_attributes.SERVER_ADDRESS: "127.0.0.1",
            server_attributes.SERVER_PORT: port,
            "url.template": "/billingEngine/account",
        }


async def test_metrics_equal_the_spans() -> None:
    """Requests, bytes, rows and phases have the same sums in metrics and spans."""
    exported = Exported()
    async with (
        Emulator(token=TOKEN, page_size=5) as server,
        SpotBillingClient(TOKEN, base_url=server.base_url, hook=exported.hook()) as client,
    ):
        accounts = await client.accounts.list()
        await client.families.list()
    listed = {"spot_billing.operation_id": "listBillingEngineAccounts"}
    assert exported.counted(HTTP_CLIENT_REQUEST_DURATION) == len(exported.requests)
    assert exported.counted("spot_billing.call.duration", listed) == 1
    assert exported.total("spot_billing.rows", listed) == len(accounts)
    assert exported.total("spot_billing.retries") == exported.total("spot_billing.refusals") == 0
    body_bytes = exported.total("http.client.response.body.size")
    assert body_bytes == sum(attribute(c, "spot_billing.received_bytes") for c in exported.calls)
    assert body_bytes == sum(attribute(r, "http.response.body.size") for r in exported.requests)
    call_s = exported.total("spot_billing.call.duration")
    assert exported.total("spot_billing.phase.duration") == pytest.approx(call_s)
    (point, *_) = exported.points(HTTP_CLIENT_REQUEST_DURATION)
    assert point.explicit_bounds[:3] == (0.005, 0.01, 0.025)
    for phase in ("connect", "first_byte", "decode"):
        assert exported.total("spot_billing.phase.duration", {"spot_billing.phase": phase}) > 0


async def test_a_retried_request_has_a_resend_count() -> None:
    """Retries are counted; an error response and a missing response are errors of their spans."""
    exported = Exported()
    sick = http(b"", status="503 x")
    async with (
        serve_raw(b"", sick, http(GOOD)) as (base_url, _),
        SpotBillingClient(TOKEN, base_url=base_url, config=PATIENT, hook=exported.hook()) as client,
    ):
        await client.costs.get("a")
    assert_tree(exported)
    exported_values = [
        (
            attribute(span, http_attributes.HTTP_REQUEST_RESEND_COUNT),
            attribute(span, http_attributes.HTTP_RESPONSE_STATUS_CODE),
            attribute(span, error_attributes.ERROR_TYPE),
            span.status.status_code,
        )
        for span in exported.requests
    ]
    assert exported_values == [
        (None, None, "TransportError", StatusCode.ERROR),
        (1, 503, "ServerError", StatusCode.ERROR),
        (2, 200, None, StatusCode.UNSET),
    ]
    (call,) = exported.calls
    assert attribute(call, "spot_billing.retries") == exported.total("spot_billing.retries") == 2
    assert call.status.status_code is StatusCode.UNSET
    assert exported.counted(HTTP_CLIENT_REQUEST_DURATION, {"error.type": "ServerError"}) == 1


async def test_a_renewed_token_adds_one_request() -> None:
    """The refused request is an error of its own span; neither token is exported."""
    exported = Exported()
    tokens = iter([f"expired-{TOKEN}", TOKEN])

    async def provider() -> str:
        return next(tokens)

    async with (
        Emulator(token=TOKEN) as server,
        SpotBillingClient(provider, base_url=server.base_url, hook=exported.hook()) as client,
    ):
        assert await client.accounts.list()
    assert_tree(exported)
    assert [
        (
            attribute(span, http_attributes.HTTP_RESPONSE_STATUS_CODE),
            attribute(span, http_attributes.HTTP_REQUEST_RESEND_COUNT),
        )
        for span in exported.requests
    ] == [(401, None), (200, 1)]
    assert exported.calls[0].status.status_code is StatusCode.UNSET
    assert "not-a-real-token" not in "".join(exported.texts())


def test_an_id_of_the_server_is_printable_in_a_span() -> None:
    """Parameters are exported without invisible characters, and cut."""
    exported = Exported()
    event = call_ended(parameters={"accountId": "a\u3164\u202e" + "b" * 9_999})
    exported.hook(identify_accounts=True)(event)
    shown = str(attribute(exported.calls[0], "spot_billing.parameter.accountId"))
    assert (shown[:14], len(shown)) == ("a\\u3164\\u202eb", 2_000)


@pytest.mark.parametrize("identify_accounts", [False, True])
async def test_accounts_are_identified_only_on_request(identify_accounts: bool) -> None:
    """By default no account id is exported; the token never is."""
    exported = Exported()
    hook = exported.hook(identify_accounts=identify_accounts)
    async with (
        Emulator(token=TOKEN) as server,
        SpotBillingClient(TOKEN, base_url=server.base_url, hook=hook) as client,
    ):
        account_id = str((await client.accounts.list())[0].account_id)
        await client.costs.get(account_id, FROM, TO, "service")
        await client.accounts.list(account_id)
        with pytest.raises(NotFoundError):
            await client.families.get("fam-7")
        with pytest.raises(NotFoundError):
            await client.with_token(TOKEN).families.delete("fam-8")
    exported_values = "".join(exported.texts())
    for identity in (account_id, "fam-7", "fam-8"):
        assert (identity in exported_values) == identify_accounts
    assert TOKEN not in exported_values
    assert TOKEN[:12] not in exported_values
    assert TOKEN[-12:] not in exported_values
    costs = exported.calls[1]
    assert attribute(costs, "spot_billing.parameter.fromDate") == "2025-01-01"
    assert attribute(costs, "spot_billing.parameter.groupBy") == "service"
    assert attribute(exported.calls[3], error_attributes.ERROR_TYPE) == "NotFoundError"
    assert exported.calls[3].status.status_code is StatusCode.ERROR


async def test_a_call_that_is_cancelled_ends_its_spans() -> None:
    """A call cancelled in flight or before its first request ends its spans and is forgotten."""
    exported = Exported()
    hook = exported.hook()
    arrived = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(3600)
        return web.Response()

    config = ClientConfig(max_concurrency=1)
    async with (
        serve(handler) as base_url,
        SpotBillingClient(TOKEN, base_url=base_url, config=config, hook=hook) as client,
    ):
        sent = asyncio.create_task(client.costs.get("a"))
        await arrived.wait()
        queued = asyncio.create_task(client.costs.get("a"))
        await asyncio.sleep(0)
        for task in (queued, sent):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert_tree(exported)
    exported_values = [
        (attribute(call, "spot_billing.requests"), attribute(call, error_attributes.ERROR_TYPE))
        for call in exported.calls
    ]
    assert exported_values == [(0, "CancelledError"), (1, "CancelledError")]
    assert attribute(exported.requests[0], error_attributes.ERROR_TYPE) == "CancelledError"
    assert not hook._pending


async def test_a_call_without_a_server_has_no_status() -> None:
    """A refused connection gives a span with an error and without a status."""
    exported = Exported()
    config = ClientConfig(retry=RetryPolicy(max_attempts=1))
    async with SpotBillingClient(
        TOKEN, base_url="http://127.0.0.1:9", config=config, hook=exported.hook()
    ) as client:
        with pytest.raises(TransportError):
            await client.costs.get("a")
    (request,) = exported.requests
    assert attribute(request, http_attributes.HTTP_RESPONSE_STATUS_CODE) is None
    assert attribute(request, error_attributes.ERROR_TYPE) == "TransportError"
    assert exported.points("http.client.response.body.size") == []


@given(st.data())
def test_interleaved_calls_get_their_own_requests(data: st.DataObject) -> None:
    """Events of concurrent calls in any order give the right trees, times and resend counts."""
    exported = Exported()
    hook = exported.hook()
    is_good = data.draw(st.lists(st.lists(st.booleans(), max_size=4), max_size=4), "calls")
    turns = data.draw(
        st.permutations([call for call, goods in enumerate(is_good) for _ in range(len(goods) + 1)])
    )
    started_s = data.draw(st.floats(0, 1e6), "start on the clock")
    left = [list(goods) for goods in is_good]
    expected: dict[int, list[int | None]] = {call: [] for call in range(len(is_good))}
    for call in turns:
        done = len(is_good[call]) - len(left[call])
        if left[call]:
            good = left[call].pop(0)
            resends = expected[call]
            before = is_good[call][:done]
            resends.append((resends[-1] or 0) + 1 if before and not before[-1] else None)
            hook(_request(call, done, good, started_s))
        else:
            hook(_call(call, done, started_s))
    assert not hook._pending
    assert_tree(exported)
    below = children(exported.spans)
    for span in exported.calls:
        requests = below[id_of(span)]
        call = attribute(span, "spot_billing.rows")
        assert [attribute(r, "http.request.resend_count") for r in requests] == expected[call]
        assert {attribute(r, "http.response.body.size") for r in requests} <= {call}


def _request(call: int, done: int, good: bool, started_s: float) -> RequestEnded:
    error = None if good else "ServerError"
    sent_s = started_s + done + 0.25
    return request_ended(
        call_id=call, started_s=sent_s, elapsed_s=0.5, received_bytes=call, error=error
    )


def _call(call: int, done: int, started_s: float) -> CallEnded:
    return call_ended(
        call_id=call, started_s=started_s, elapsed_s=done + 0.25, requests=done, rows=call
    )


def test_spans_have_the_times_of_their_events() -> None:
    """A request's span keeps its offset from the start of its call, and its duration."""
    exported = Exported()
    hook = exported.hook()
    hook(request_ended(started_s=1000.25, elapsed_s=0.5))
    phases = Phases(paced_s=0.25, first_byte_s=0.75)
    hook(call_ended(started_s=1000.0, elapsed_s=1.0, requests=1, phases=phases))
    (request,), (call,) = exported.requests, exported.calls
    assert call.start_time is not None
    assert (call.end_time or 0) - call.start_time == 1_000_000_000
    assert (request.start_time or 0) - call.start_time == 250_000_000
    assert (request.end_time or 0) - call.start_time == 750_000_000
    exported_values = {
        name: value for name, value in (call.attributes or {}).items() if ".phase." in name
    }
    assert exported_values == {
        "spot_billing.phase.paced_s": 0.25,
        "spot_billing.phase.first_byte_s": 0.75,
    }
    for phase, spent_s in (("paced", 0.25), ("first_byte", 0.75)):
        by = {"spot_billing.phase": phase}
        assert exported.total("spot_billing.phase.duration", by) == spent_s
        assert exported.counted("spot_billing.phase.duration", by) == 1


def test_days_of_the_cache_are_counted_by_result() -> None:
    """Hit, joined and missed are results of one counter, so that their shares can be computed."""
    exported = Exported()
    hook = exported.hook()
    for _ in range(2):
        hook(CacheRead(operation_id="getCostAnalysis", days_hit=30, days_joined=4, days_missed=1))
    for result, days in (("hit", 60), ("joined", 8), ("missed", 2)):
        by = {"spot_billing.cache.result": result}
        assert exported.total("spot_billing.cache.days", by) == days
    assert exported.spans == []


def test_the_port_defaults_to_that_of_the_scheme() -> None:
    """A URL without a port gets its scheme's, as the conventions require a port."""
    exported = Exported()
    hook = exported.hook()
    hook(request_ended(url="https://api.spotinst.io/billingEngine/cost"))
    (point,) = exported.points(HTTP_CLIENT_REQUEST_DURATION)
    assert point.attributes["server.address"] == "api.spotinst.io"
    assert point.attributes["server.port"] == 443


async def test_without_an_sdk_the_hook_does_nothing() -> None:
    """The OpenTelemetry API alone is enough: its own providers drop everything."""
    hook = OpenTelemetryHook()
    async with (
        Emulator(token=TOKEN) as server,
        SpotBillingClient(TOKEN, base_url=server.base_url, hook=hook) as client,
    ):
        assert await client.accounts.list()
    assert not hook._pending


def test_a_call_that_is_not_sampled_is_still_measured() -> None:
    """A call that is not sampled exports no spans, and is still counted in metrics."""
    exported = Exported()
    unsampled = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    unsampled.add_span_processor(exported.processor)
    hook = OpenTelemetryHook(unsampled, exported.meters)
    hook(request_ended())
    hook(call_ended(requests=1, rows=7))
    assert exported.spans == []
    assert exported.counted(HTTP_CLIENT_REQUEST_DURATION) == 1
    assert exported.total("spot_billing.rows") == 7


def test_invalid_arguments_are_refused() -> None:
    """Each error names the field, what is allowed, and the value."""
    ready: Any = OpenTelemetryHook
    for options, message in (
        ({"tracer_provider": "x"}, "tracer_provider must be .*, got 'x'"),
        ({"meter_provider": "x"}, "meter_provider must be .*, got 'x'"),
        ({"identify_accounts": "no"}, "identify_accounts must be .*, got 'no'"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}"):
            ready(**options)


def test_a_missing_extra_is_named() -> None:
    """Importing the hook without the OpenTelemetry API raises an error with the pip command."""
    code = "import sys; sys.modules['opentelemetry'] = None; import spot_billing_async.otel"
    done = subprocess.run(  # noqa: S603  our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "MissingExtraError" in done.stderr
    assert "pip install '.[otel]'" in done.stderr
