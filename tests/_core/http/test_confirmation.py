"""Answers that contradict their query: asked again, learned from, or refused with a reason."""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import (
    ClientConfig,
    CostPlan,
    CostQuery,
    DecodeError,
    Failed,
    Fetched,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async._core.http.answers import AnswerMemory
from spot_billing_async.cache import CostCache
from spot_billing_async.telemetry import CallEnded, Event, RequestEnded
from tests.support import serve

DAY = date(2025, 1, 10)
FAST = RetryPolicy(backoff_base_s=0.001, backoff_cap_s=0.001)
Row = dict[str, Any]
Rows = Callable[[web.Request], list[Row]]


class Api:
    """API that answers as a function of the request says, and counts requests and connections.

    Attributes:
        requests: queries received, as pairs of token and account.
        connections: transports that the requests came on.
    """

    def __init__(self, rows: Rows, url: Callable[[web.Request], str | None] | None = None) -> None:
        self._rows = rows
        self._url = url
        self.requests: list[tuple[str, str]] = []
        self.connections: list[object] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request."""
        self.requests.append((request.headers["Authorization"], request.query["accountId"]))
        self.connections.append(request.transport)
        body: dict[str, object] = {"response": {"items": self._rows(request)}}
        if self._url is not None:
            body["request"] = {"id": "r", "url": self._url(request)}
        return web.json_response(body)


def own(request: web.Request, **fields: object) -> Row:
    """Return the row that a request asks for."""
    account, day = request.query["accountId"], request.query["fromDate"]
    return {"cost": 1, "currency": "USD", "accountId": account, "date": day, **fields}


def plan(accounts: int) -> list[CostQuery]:
    """Return a plan of one day for some accounts."""
    return list(CostPlan.build([f"act-{n}" for n in range(accounts)], DAY, DAY))


def config(**options: Any) -> ClientConfig:
    """Return settings with short waits between retries."""
    return ClientConfig(retry=FAST, **options)


async def test_a_single_wrong_answer_is_asked_for_again_on_a_new_connection() -> None:
    """The second answer is taken; the report, the request's and the call's event say so."""
    events: list[Event] = []
    wrong = iter([False, True])

    def rows(request: web.Request) -> list[Row]:
        return [own(request, accountId="act-9")] if next(wrong, False) else [own(request)]

    api = Api(rows)
    async with (
        serve(api.handle) as url,
        SpotBillingClient("t", base_url=url, hook=events.append) as client,
    ):
        await client.costs.get("act-1", DAY, DAY)
        async with client.costs.pull([CostQuery(account_id="act-2", from_date=DAY)]) as run:
            outcomes = [outcome async for outcome in run]
    assert [isinstance(o, Fetched) and o.items[0].account_id for o in outcomes] == ["act-2"]
    assert (run.report.mismatches, run.report.requests, run.report.retries) == (1, 2, 1)
    assert api.connections[0] is api.connections[1]
    assert api.connections[1] is not api.connections[2]
    told = [event.mismatches for event in events if isinstance(event, RequestEnded)]
    assert told == [(), ("account",), ()]
    assert [event.mismatches for event in events if isinstance(event, CallEnded)] == [0, 1]


async def test_other_ids_are_learned_once_for_each_tenant() -> None:
    """A server that names accounts by the provider's ids is asked once more, then believed."""
    api = Api(lambda request: [own(request, accountId=f"1234-{request.query['accountId']}")])
    async with serve(api.handle) as url, SpotBillingClient("t-one", base_url=url) as client:
        for view in (client, client.with_token("t-two")):
            async with view.costs.pull(plan(50)) as run:
                outcomes = [outcome async for outcome in run]
            assert all(isinstance(outcome, Fetched) for outcome in outcomes)
            assert (run.report.requests, run.report.mismatches) == (51, 1)
            await view.costs.get("act-7", DAY, DAY)
    assert len(api.requests) == 2 * 52


async def test_an_account_of_another_query_is_never_learned() -> None:
    """Rows of an account that the client asked for elsewhere are a mix-up, however often."""
    api = Api(lambda request: [own(request, accountId="act-1")])
    async with serve(api.handle) as url:
        async with SpotBillingClient("t", base_url=url, config=config()) as client:
            assert await client.costs.get("act-1", DAY, DAY)
            with pytest.raises(DecodeError, match=r"'act-1', not of 'act-2'.*row_accounts='any'"):
                await client.costs.get("act-2", DAY, DAY)
        assert len(api.requests) == 1 + FAST.max_attempts
        accepting = config(row_accounts="any")
        async with SpotBillingClient("t", base_url=url, config=accepting) as client:
            assert await client.costs.get("act-1", DAY, DAY)
            assert await client.costs.get("act-2", DAY, DAY)


async def test_members_of_an_account_are_learned_unless_they_are_asked_for_too() -> None:
    """A payer's rows may name its members; if these are asked for too, costs would count twice."""
    api = Api(lambda request: [own(request), own(request, accountId="act-member")])
    async with (
        serve(api.handle) as url,
        SpotBillingClient("t", base_url=url, config=config()) as client,
    ):
        for account in ("act-payer", "act-other"):
            assert len(await client.costs.get(account, DAY, DAY)) == 2
        assert len(api.requests) == 3
        await client.costs.get("act-member", DAY, DAY)
        with pytest.raises(DecodeError, match="row_accounts='any'"):
            await client.costs.get("act-payer", DAY, DAY)


@pytest.mark.parametrize(
    ("api", "setting", "accepting"),
    [
        (
            Api(lambda request: [own(request, date="2025-01-01")]),
            "row_dates='month'",
            config(row_dates="month"),
        ),
        (
            Api(lambda request: [own(request, date="2024-12-31")]),
            "row_dates='any'",
            config(row_dates="any"),
        ),
        (
            Api(lambda request: [own(request)], lambda _: "/x?accountId=another"),
            "check_echo=False",
            config(check_echo=False),
        ),
    ],
    ids=["month", "any", "echo"],
)
async def test_other_days_and_parameters_need_a_setting(
    api: Api, setting: str, accepting: ClientConfig
) -> None:
    """One call asks once more; every call fails with the setting that accepts such answers."""
    async with serve(api.handle) as url:
        async with SpotBillingClient("t", base_url=url, config=config()) as client:
            async with client.costs.pull(plan(40)) as run:
                outcomes = [outcome async for outcome in run]
            errors = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
            assert len(errors) == 40
            assert all(isinstance(error, DecodeError) and error.permanent for error in errors)
            assert all(setting in str(error) for error in errors)
            assert (run.report.requests, run.report.mismatches) == (41, 41)
        before = len(api.requests)
        async with SpotBillingClient("t", base_url=url, config=accepting) as client:
            async with client.costs.pull(plan(40)) as run:
                assert all([isinstance(outcome, Fetched) async for outcome in run])
            assert (run.report.requests, run.report.mismatches) == (40, 0)
        assert len(api.requests) == before + 40


async def test_a_server_that_agreed_before_is_asked_again_several_times() -> None:
    """Repeated wrong days are retried within `max_attempts`, where right ones came before."""
    wrong = iter([False, True, True, True, False, True, True, True, True])

    def rows(request: web.Request) -> list[Row]:
        return [own(request, date="1999-01-01")] if next(wrong) else [own(request)]

    api = Api(rows)
    async with (
        serve(api.handle) as url,
        SpotBillingClient("t", base_url=url, config=config()) as client,
    ):
        assert await client.costs.get("act-1", DAY, DAY)
        assert await client.costs.get("act-1", DAY, DAY)
        with pytest.raises(DecodeError, match="1999-01-01") as caught:
            await client.costs.get("act-1", DAY, DAY)
    assert caught.value.attempts == len(caught.value.attempt_errors) == FAST.max_attempts
    assert not caught.value.permanent


async def test_an_answer_is_asked_for_again_without_retries_too() -> None:
    """`max_attempts=1` retries no failure; a contradiction is still asked for once more."""
    wrong = iter([True])
    api = Api(
        lambda request: [own(request, accountId="act-9")] if next(wrong, 0) else [own(request)]
    )
    once = ClientConfig(retry=RetryPolicy(max_attempts=1))
    async with (
        serve(api.handle) as url,
        SpotBillingClient("t", base_url=url, config=once) as client,
    ):
        assert [item.account_id for item in await client.costs.get("act-1", DAY)] == ["act-1"]


async def test_one_slow_trial_blocks_no_other_tenant_and_no_deadline() -> None:
    """A call that waits for another one's trial ends at its own deadline."""
    held = asyncio.Event()
    first: set[str] = set()

    async def handle(request: web.Request) -> web.Response:
        token = request.headers["Authorization"]
        if token == "Bearer t-slow" and token in first:
            await held.wait()
        first.add(token)
        return web.json_response({"response": {"items": [own(request, accountId="1234")]}})

    short = ClientConfig(deadline_s=1.0)
    async with (
        serve(handle) as url,
        SpotBillingClient("t-slow", base_url=url, config=short) as client,
    ):
        slow = [asyncio.create_task(client.costs.get(f"act-{n}", DAY, DAY)) for n in range(3)]
        other = client.with_token("t-other")
        assert [item.account_id for item in await other.costs.get("act-1", DAY, DAY)] == ["1234"]
        failures = await asyncio.gather(*slow, return_exceptions=True)
        held.set()
    assert all(isinstance(failure, SpotBillingError) for failure in failures)


async def test_rows_by_month_are_not_cached_by_day() -> None:
    """A cache would return the amount of a whole month for its first day."""
    api = Api(lambda request: [own(request, date="2025-01-01")])
    async with (
        serve(api.handle) as url,
        SpotBillingClient(
            "t", base_url=url, config=config(row_dates="month"), cache=CostCache()
        ) as client,
    ):
        await client.costs.get("act-1", date(2025, 1, 1), date(2025, 1, 31))
        await client.costs.get("act-1", date(2025, 1, 1), date(2025, 1, 1))
    assert len(api.requests) == 2


async def test_the_memory_outlives_the_block_of_the_client() -> None:
    """A client that is entered again does not ask again."""
    api = Api(lambda request: [own(request, accountId="1234")])
    async with serve(api.handle) as url:
        client = SpotBillingClient("t", base_url=url)
        for _ in range(3):
            async with client:
                await client.costs.get("act-1", DAY, DAY)
    assert len(api.requests) == 4


async def test_text_of_the_server_is_cut_and_printable_in_errors() -> None:
    """An error shows three ids of at most a hundred characters, escaped, and not the token."""
    ids = ["\x1b[31m", "t-secret-token", "x" * 5_000, "y", "z"]
    api = Api(lambda request: [own(request, accountId=each, date="1999-01-01") for each in ids])
    async with (
        serve(api.handle) as url,
        SpotBillingClient("t-secret-token", base_url=url, config=config()) as client,
    ):
        with pytest.raises(DecodeError) as caught:
            await client.costs.get("act-1", DAY, DAY)
    text = str(caught.value.attempt_errors)
    assert text.isprintable()
    assert "t-secret-token" not in text
    assert len(text) < 3_000


@pytest.mark.parametrize("field", ["row_dates", "row_accounts"])
@pytest.mark.parametrize("value", ["days", None, 1, []])
def test_settings_are_checked(field: str, value: Any) -> None:
    """A value that is not allowed is refused with the field, the value and what is allowed."""
    with pytest.raises(SpotBillingError, match=f"{field} must be one of '.*', '.*', got"):
        ClientConfig(**{field: value})


def test_the_memory_is_bounded() -> None:
    """The first accounts and the least recent tenants are forgotten."""
    memory = AnswerMemory()
    for n in range(150_000):
        memory.note_asked(f"act-{n}")
    assert memory.is_mixed_up({"account": frozenset({"act-149999"})}, "x")
    assert not memory.is_mixed_up({"account": frozenset({"act-0"})}, "x")
    memory.of_tenant("kept").differing.add("account")
    for n in range(1_500):
        memory.of_tenant(str(n))
        assert memory.of_tenant("kept").differing
    memory.of_tenant("0").agreed.add("date")
    for n in range(1_500):
        memory.of_tenant(str(n + 1))
    assert not memory.of_tenant("0").agreed


async def test_monthly_windows_agree_without_a_setting() -> None:
    """Rows of the first day of a month lie in a window of whole months."""
    api = Api(lambda request: [own(request)])
    async with serve(api.handle) as url, SpotBillingClient("t", base_url=url) as client:
        months = CostPlan.build(["act-1"], DAY.replace(day=1), DAY + timedelta(days=300))
        async with client.costs.pull(months) as run:
            assert all([isinstance(outcome, Fetched) async for outcome in run])
    assert run.report.mismatches == 0


async def test_a_change_is_never_repeated_for_its_pages() -> None:
    """A response to a POST whose count contradicts its items is an error, and sent once."""
    requests = 0

    async def handle(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        paging = {"paginationInfo": {"totalCount": 5}}
        return web.json_response({"response": {"items": [{"id": "f", "name": "n"}], **paging}})

    async with (
        serve(handle) as url,
        SpotBillingClient("t", base_url=url, config=config()) as client,
    ):
        with pytest.raises(DecodeError, match="totalCount"):
            await client.families.create(name="n")
    assert requests == 1


async def test_pages_that_contradict_each_other_are_requested_again() -> None:
    """All pages are requested again, within `max_attempts` and with the errors on record."""
    counts = iter([3, 2])

    async def handle(request: web.Request) -> web.Response:
        key = request.query.get("paginationKey")
        total = next(counts, 2) if key is None else 2
        info = {"totalCount": total, "nextKey": None if key else "k"}
        rows = [own(request, cost=2 if key else 1)]
        return web.json_response({"response": {"items": rows, "paginationInfo": info}})

    async with (
        serve(handle) as url,
        SpotBillingClient("t", base_url=url, config=config()) as client,
        client.costs.pull([CostQuery(account_id="a", from_date=DAY, to_date=DAY)]) as run,
    ):
        outcomes = [outcome async for outcome in run]
    assert [isinstance(o, Fetched) and len(o.items) for o in outcomes] == [2]
    assert (run.report.requests, run.report.retries, run.report.mismatches) == (4, 1, 0)
