"""Telemetry events: their fields, redaction, and delivery to hooks."""

import gzip
import logging
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import ClientConfig, ConfigError, NotFoundError, SpotBillingClient
from spot_billing_async._core.protocol.operations import OPERATIONS, Operation
from spot_billing_async.emulator import Emulator
from spot_billing_async.telemetry import CallEnded, Event, RequestEnded, fan_out
from tests.events import BASE, call_ended, request_ended
from tests.support import serve

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
PARAMETERS = ("accountId", "fromDate", "toDate", "groupBy", "paginationKey")

ids = st.text(min_size=1)
values = st.dictionaries(st.sampled_from(PARAMETERS), ids)


@given(st.sampled_from(list(OPERATIONS.values())), ids, ids, values, ids, ids)
def test_a_redacted_url_is_the_same_for_all_accounts(
    operation: Operation, one: str, other: str, query: dict[str, str], key: str, other_key: str
) -> None:
    """URLs that differ only in values that identify an account have the same redacted URL."""
    first = request_ended(operation, one, query | {"accountId": one, "paginationKey": key})
    second = request_ended(
        operation, other, query | {"accountId": other, "paginationKey": other_key}
    )
    assert first.redacted_url == second.redacted_url
    assert first.redacted_url.startswith(BASE + "/")


def test_a_redacted_url_keeps_names_days_and_grouping() -> None:
    """A redacted URL keeps parameter names, days and grouping, and hides the account."""
    query = {"accountId": "act-1", "fromDate": "2025-01-01", "groupBy": "service"}
    costs = request_ended(OPERATIONS["getCostAnalysis"], "", query)
    assert costs.redacted_url == (
        f"{BASE}/billingEngine/cost?accountId=REDACTED&fromDate=2025-01-01&groupBy=service"
    )
    family = request_ended(OPERATIONS["getAccountFamily"], "fam-1", {})
    assert family.redacted_url == f"{BASE}/billingEngine/family/REDACTED"


async def test_events_relate_a_call_and_its_requests() -> None:
    """Each request has the id of its call; both have their start time and parameters."""
    events: list[Event] = []
    config = ClientConfig(path_overrides={"getAccountFamily": "/v2/family/{familyId}"})
    async with (
        Emulator(token="t", page_size=20) as server,
        SpotBillingClient(
            "t", base_url=server.base_url, config=config, hook=events.append
        ) as client,
    ):
        accounts = await client.accounts.list()
        with pytest.raises(NotFoundError):
            await client.families.get("fam/1")
    *pages, listed, request, call = events
    assert isinstance(listed, CallEnded)
    assert isinstance(request, RequestEnded)
    assert isinstance(call, CallEnded)
    assert len(pages) == listed.requests == 2
    assert listed.rows == len(accounts)
    assert {page.call_id for page in pages if isinstance(page, RequestEnded)} == {listed.call_id}
    assert request.call_id == call.call_id != listed.call_id
    assert call.started_s <= request.started_s
    assert request.started_s + request.elapsed_s <= call.started_s + call.elapsed_s
    assert (request.method, request.url_template) == ("GET", "/v2/family/{familyId}")
    assert request.url.endswith("/v2/family/fam%2F1")
    assert (call.parameters, call.open_parameters, call.rows) == ({"familyId": "fam/1"}, {}, 0)


@pytest.mark.parametrize("packed", [False, True])
async def test_bytes_are_counted_as_they_cross_the_wire(packed: bool) -> None:
    """Received bytes are counted compressed, of one body per request and of all per call."""
    body = gzip.compress(GOOD) if packed else GOOD
    headers = {"Content-Encoding": "gzip"} if packed else {}
    answers = [web.Response(status=503, body=b"busy"), web.Response(body=body, headers=headers)]
    events: list[Any] = []

    async def handler(_: web.Request) -> web.Response:
        return answers.pop(0)

    async with (
        serve(handler) as base_url,
        SpotBillingClient("t", base_url=base_url, hook=events.append) as client,
    ):
        await client.costs.get("a")
    assert [event.received_bytes for event in events] == [4, len(body), 4 + len(body)]


async def test_without_a_hook_no_event_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without a hook builds no events."""

    def built(*_: object, **__: object) -> None:
        raise AssertionError("an event was built")

    monkeypatch.setattr("spot_billing_async.telemetry.RequestEnded", built)
    monkeypatch.setattr("spot_billing_async.telemetry.CallEnded", built)
    async with (
        Emulator(token="t") as server,
        SpotBillingClient("t", base_url=server.base_url) as client,
    ):
        assert await client.accounts.list()


def test_one_failing_hook_does_not_affect_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each hook receives each event, in order; an exception of one is logged."""
    received: list[tuple[str, Event]] = []

    def broken(_: Event) -> None:
        raise LookupError("broken")

    hook = fan_out(lambda e: received.append(("a", e)), broken, lambda e: received.append(("b", e)))
    event = call_ended()
    hook(event)
    assert received == [("a", event), ("b", event)]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        "a telemetry hook failed on CallEnded",
    )


def test_async_hooks_are_refused() -> None:
    """fan_out refuses async hooks as the client does: their coroutines would never be awaited."""

    async def hook(event: Event) -> None: ...

    with pytest.raises(ConfigError, match=r"hooks\[1\] must be a plain function of an event, got "):
        fan_out(print, hook)  # type: ignore[arg-type]  # that is the point
