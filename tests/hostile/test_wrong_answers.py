"""Rules of what an answer that contradicts its query leads to, one by one."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from spot_billing_async import ClientConfig, CostItem, CostPlan, DecodeError, SpotBillingClient
from spot_billing_async.cache import CostCache
from spot_billing_async.client import TenantClient
from tests.hostile.answers import Asked
from tests.hostile.contest import RETRY, TENANTS, Amount
from tests.hostile.otherwise import Events, Form, Served, serving

DAY, NEXT = date(2025, 1, 10), date(2025, 1, 11)
MOST = RETRY.max_attempts


def right(asked: Asked) -> Form:
    """Return an answer with everything, which agrees with its request."""
    day = None if asked.from_date is None else asked.from_date.isoformat()
    url = "/x?" + "&".join(f"{name}={value}" for name, value in asked.parameters.items())
    return Form([{"accountId": asked.account, "date": day, "cost": 1, "currency": "USD"}], url)


def with_id(asked: Asked, account: object) -> Form:
    """Return a right answer but for the account of its row, without a URL."""
    return Form([{**right(asked).rows[0], "accountId": account}])


def with_day(asked: Asked, day: object) -> Form:
    """Return a right answer but for the date of its row, without a URL."""
    return Form([{**right(asked).rows[0], "date": day}])


def without_url(asked: Asked) -> Form:
    """Return a right answer without a URL, so that its rows have to be looked at."""
    return Form(right(asked).rows)


RIGHT: dict[str, Callable[[Asked], Form]] = {
    "url": right,
    "account": without_url,
    "date": without_url,
}
WRONG: dict[str, Callable[[Asked], Form]] = {
    "url": lambda asked: Form(right(asked).rows, "/x?accountId=another"),
    "account": lambda asked: with_id(asked, "another"),
    "date": lambda asked: with_day(asked, "2025-01-09"),
}


def client_of(base_url: str, events: Events | None = None, **options: object) -> SpotBillingClient:
    """Return the first tenant's client."""
    config = ClientConfig(retry=RETRY, **options)  # type: ignore[arg-type]  # any option
    return SpotBillingClient(TENANTS[0], base_url=base_url, config=config, hook=events)


async def get(view: TenantClient, account: str = "a") -> list[CostItem]:
    """Return the rows of an account on one day."""
    return await view.costs.get(account, DAY, DAY)


def is_on_new_connections(served: Served) -> bool:
    """Return whether each repeated request was the first one of its connection."""
    return all(
        seen.place == 0 for n, seen in enumerate(served.seen) if seen.asked in served.asked[:n]
    )


@pytest.mark.parametrize("kind", WRONG)
async def test_one_wrong_answer_is_replaced_by_the_next(kind: str) -> None:
    """The second answer, on a new connection, is returned; report and events count the first."""
    events = Events()

    def answer(asked: Asked, before: int) -> Form:
        return right(asked) if before or asked.account != "a" else WRONG[kind](asked)

    async with serving(answer) as (base_url, served), client_of(base_url, events) as client:
        await get(client, "before")
        async with client.costs.pull(CostPlan.build(["a", "b"], DAY, DAY)) as run:
            outcomes = [outcome async for outcome in run]
    assert len(outcomes) == run.report.ok == 2
    assert run.report.mismatches == 1
    assert events.kinds == [(kind,)]
    assert [call.mismatches for call in events.calls if call.parameters["accountId"] == "a"] == [1]
    assert run.report.requests == 3
    assert is_on_new_connections(served)


async def test_every_kind_of_an_answer_is_named() -> None:
    """The event of a request names each kind of contradiction."""
    events = Events()

    def answer(asked: Asked, before: int) -> Form:
        wrong = {"accountId": "another", "date": "2024-01-01", "cost": 1}
        return right(asked) if before else Form([wrong], "/x?groupBy=region&fromDate=2025-01-11")

    async with serving(answer) as (base_url, _), client_of(base_url, events) as client:
        await get(client)
    assert [set(kinds) for kinds in events.kinds] == [{"url", "account", "date"}]


@pytest.mark.parametrize(("kind", "setting"), [("url", "check_echo=False"), ("date", "row_dates=")])
async def test_a_server_that_never_agreed_is_asked_twice(kind: str, setting: str) -> None:
    """The same wrong URL or day again is a permanent error, which names the setting."""
    async with (
        serving(lambda asked, _: WRONG[kind](asked)) as (base_url, served),
        client_of(base_url) as client,
    ):
        with pytest.raises(DecodeError, match=setting) as caught:
            await get(client)
    assert caught.value.permanent
    assert len(served.seen) == caught.value.attempts == 2


@pytest.mark.parametrize(("kind", "setting"), [("url", "check_echo=False"), ("date", "row_dates=")])
async def test_a_server_that_agreed_before_is_asked_until_the_last_attempt(
    kind: str, setting: str
) -> None:
    """The same wrong URL or day from a server that agreed in that kind before is retried."""

    def answer(asked: Asked, _: int) -> Form:
        return RIGHT[kind](asked) if asked.account == "before" else WRONG[kind](asked)

    async with serving(answer) as (base_url, served), client_of(base_url) as client:
        await get(client, "before")
        with pytest.raises(DecodeError, match=setting) as caught:
            await get(client)
    assert len(served.seen) - 1 == caught.value.attempts == MOST


@pytest.mark.parametrize("kind", ["url", "date", "account"])
@pytest.mark.parametrize("wrong_answers", range(1, MOST))
async def test_an_answer_that_agrees_before_the_last_attempt_is_taken(
    kind: str, wrong_answers: int
) -> None:
    """After up to three wrong answers from a server that agreed before, the right one is taken."""
    events = Events()

    def answer(asked: Asked, before: int) -> Form:
        if asked.account == "a" and before < wrong_answers:
            return WRONG[kind](asked)
        return RIGHT[kind](asked)

    async with serving(answer) as (base_url, served), client_of(base_url, events) as client:
        await get(client, "before")
        await get(client, "another")
        assert [row.account_id for row in await get(client)] == ["a"]
    assert len(served.seen) == 3 + wrong_answers
    assert events.kinds == [(kind,)] * wrong_answers
    assert events.calls[-1].mismatches == wrong_answers
    assert is_on_new_connections(served)


@pytest.mark.parametrize("number", [False, True])
async def test_an_id_may_be_a_number(number: bool) -> None:
    """An id that this client asked for elsewhere is a fault as text and as a number."""

    def answer(asked: Asked, _: int) -> Form:
        return with_id(asked, 77 if number else "77")

    async with serving(answer) as (base_url, _), client_of(base_url) as client:
        assert len(await get(client, "77")) == 1
        with pytest.raises(DecodeError, match="row_accounts="):
            await get(client)


@pytest.mark.parametrize("other_tenant", [False, True])
async def test_the_id_of_another_query_is_never_the_servers_own(other_tenant: bool) -> None:
    """Rows of an account that this client asked for elsewhere fail, and name the setting."""

    def answer(asked: Asked, _: int) -> Form:
        return with_id(asked, "another")

    async with serving(answer) as (base_url, served), client_of(base_url) as client:
        await get(client, "another")
        view = client.with_token(TENANTS[1]) if other_tenant else client
        with pytest.raises(DecodeError, match=r"row_accounts=.any.") as caught:
            await get(view)
    assert len(served.seen) - 1 == caught.value.attempts == MOST


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("url", {"check_echo": False}),
        ("account", {"row_accounts": "any"}),
        ("date", {"row_dates": "month"}),
        ("date", {"row_dates": "any"}),
    ],
)
async def test_a_setting_accepts_its_kind(kind: str, options: dict[str, object]) -> None:
    """With the setting, the answer is taken at once, and nothing is counted."""
    events = Events()

    def answer(asked: Asked, _: int) -> Form:
        return right(asked) if asked.account == "another" else WRONG[kind](asked)

    async with (
        serving(answer) as (base_url, served),
        client_of(base_url, events, **options) as client,
    ):
        await get(client, "another")
        assert len(await get(client)) == 1
    assert len(served.seen) == 2
    assert events.kinds == []


@pytest.mark.parametrize("day", ["2024-12-31", "2025-02-01"])
async def test_another_month_contradicts_the_month(day: str) -> None:
    """With `row_dates="month"`, a row of the month before or after is still an error."""
    async with (
        serving(lambda asked, _: with_day(asked, day)) as (base_url, _),
        client_of(base_url, row_dates="month") as client,
    ):
        with pytest.raises(DecodeError, match="row_dates="):
            await get(client)


async def test_each_tenant_has_a_memory_of_its_own() -> None:
    """Other ids that a server repeats are taken; what one tenant learned holds for it alone."""

    def answer(asked: Asked, _: int) -> Form:
        return with_id(asked, f"own of {asked.tenant}")

    async with serving(answer) as (base_url, served), client_of(base_url) as client:
        view = client.with_token(TENANTS[1])
        for each, sent in ((client, 2), (client, 3), (view, 5), (view, 6), (client, 7)):
            await get(each)
            assert len(served.seen) == sent


@pytest.mark.parametrize("kind", WRONG)
async def test_no_wrong_row_reaches_the_cache(kind: str) -> None:
    """A cache keeps the second answer only."""

    def answer(asked: Asked, before: int) -> Form:
        if before or asked.account != "a":
            return right(asked)
        wrong = WRONG[kind](asked)
        return Form([{**row, "cost": 999} for row in wrong.rows], wrong.url)

    config = ClientConfig(retry=RETRY)
    async with (
        serving(answer) as (base_url, served),
        SpotBillingClient(
            TENANTS[0], base_url=base_url, config=config, cache=CostCache()
        ) as client,
    ):
        await get(client, "before")
        for _ in range(2):
            assert [row.cost for row in await get(client)] == [1]
    assert len(served.seen) == 3


@pytest.mark.parametrize(
    "item_type",
    [
        CostItem,
        Amount,
    ],
)
@pytest.mark.parametrize("url", [5, True, {"href": "/x"}, ["/x"]])
async def test_a_url_that_is_no_text_does_not_hide_the_rows(
    url: object, item_type: type[Any]
) -> None:
    """Rows are compared whatever `request.url` is, and whatever the item type decodes of them."""

    def answer(asked: Asked, _: int) -> Form:
        return Form(WRONG["date"](asked).rows, url)

    async with serving(answer) as (base_url, _), client_of(base_url) as client:
        with pytest.raises(DecodeError, match="row_dates="):
            await client.costs.get("a", DAY, DAY, item_type=item_type)


async def test_the_id_of_another_query_in_other_letters_is_never_the_servers_own() -> None:
    """An id that differs in case alone from one asked elsewhere is that one."""

    def answer(asked: Asked, _: int) -> Form:
        return with_id(asked, "ACT-1")

    async with serving(answer) as (base_url, served), client_of(base_url) as client:
        await get(client, "act-1")
        assert len(served.seen) == 1
        with pytest.raises(DecodeError, match="row_accounts="):
            await get(client)


async def test_an_answer_that_is_refused_teaches_no_ids() -> None:
    """Ids of answers that another query's URL refuses do not count as the server's own."""

    def answer(asked: Asked, _: int) -> Form:
        rows = with_id(asked, "somebody else's").rows
        return Form(rows, "/x?fromDate=1999-01-01" if asked.account == "first" else None)

    async with serving(answer) as (base_url, served), client_of(base_url) as client:
        with pytest.raises(DecodeError, match="check_echo="):
            await get(client, "first")
        before = len(served.seen)
        await get(client, "second")
    assert len(served.seen) - before == 2


async def test_the_id_of_another_query_is_a_fault_where_other_ids_are_known() -> None:
    """A server that answers with other ids is still asked again for one asked elsewhere."""

    def answer(asked: Asked, before: int) -> Form:
        if asked.account == "b" and before == 0:
            return with_id(asked, "a")
        return with_id(asked, f"own of {asked.account}")

    async with serving(answer) as (base_url, served), client_of(base_url) as client:
        await get(client, "a")
        await get(client, "a")
        assert len(served.seen) == 3
        assert [row.account_id for row in await get(client, "b")] == ["own of b"]
    assert len(served.seen) == 5


@pytest.mark.parametrize("knows_other_ids", [False, True])
async def test_one_row_of_another_query_is_a_fault(knows_other_ids: bool) -> None:
    """A row of an account that was asked for elsewhere is a fault beside right rows too."""

    def answer(asked: Asked, _: int) -> Form:
        if asked.account == "b":
            return Form([with_id(asked, account).rows[0] for account in ("b", "a")])
        return with_id(asked, f"own of {asked.account}" if knows_other_ids else asked.account)

    async with serving(answer) as (base_url, _), client_of(base_url) as client:
        await get(client, "a")
        with pytest.raises(DecodeError, match="row_accounts="):
            await get(client, "b")
