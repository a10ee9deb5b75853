"""Servers that rightly answer with other ids, months, or URLs, and runs of a client with each."""

from asyncio import gather
from collections.abc import Callable
from datetime import date, timedelta
from random import Random
from typing import Literal, NamedTuple
from urllib.parse import quote_plus

from spot_billing_async import ClientConfig, CostItem, CostPlan, Fetched, SpotBillingClient
from spot_billing_async.client import TenantClient
from tests.hostile.answers import Asked
from tests.hostile.contest import RETRY, TENANTS, Amount
from tests.hostile.otherwise import Events, Form, Row, serving

ACCOUNTS = [f"act-{n:02d}" for n in range(32)]
FIRST = date(2025, 1, 1)
FIRST_REQUESTS = 32


class Server(NamedTuple):
    """A server's way to answer, with a seed.

    Attributes:
        form: its answer to a request.
        extra: most requests for one tenant beyond one for each query.
        row_dates: setting of the client.
    """

    form: Callable[[Asked, Random], Form]
    extra: int
    row_dates: Literal["day", "month", "any"] = "day"


def rows_of(asked: Asked, **more: object) -> list[Row]:
    """Return a row for each requested day."""
    assert asked.from_date is not None
    assert asked.to_date is not None
    count = (asked.to_date - asked.from_date).days + 1
    days = [asked.from_date + timedelta(days=n) for n in range(count)]
    return [{"date": day.isoformat(), "cost": 1, "currency": "USD", **more} for day in days]


def one_id_per_account(asked: Asked, _: Random) -> Form:
    """Return rows with the cloud provider's id of the account, which is a number."""
    assert asked.account is not None
    return Form(rows_of(asked, accountId=f"0112540{asked.account[4:]:0>5}"))


def id_of_the_payer(asked: Asked, _: Random) -> Form:
    """Return rows with the id of the account that pays for all."""
    return Form(rows_of(asked, accountId=f"payer of {asked.tenant}"))


def several_ids(asked: Asked, _: Random) -> Form:
    """Return rows with several ids for each account, which depend on the days as well."""
    assert asked.from_date is not None
    rows = rows_of(asked)
    for n, row in enumerate(rows):
        row["accountId"] = f"{asked.account} part {(asked.from_date.day + n) % 5}"
    return Form(rows)


def ids_in_some_rows(asked: Asked, chance: Random) -> Form:
    """Return rows with another id, the requested one, or none; in any order."""
    rows = rows_of(asked)
    for n, row in enumerate(rows):
        if id_ := (None, asked.account, f"other {asked.account}")[n % 3]:
            row["accountId"] = id_
    chance.shuffle(rows)
    return Form(rows)


def other_ids_of_some_accounts(asked: Asked, _: Random) -> Form:
    """Return rows with other ids for every second account only."""
    assert asked.account is not None
    is_other = int(asked.account[4:]) % 2
    return Form(rows_of(asked, accountId=f"x{asked.account}" if is_other else asked.account))


def first_day_of_month(asked: Asked, chance: Random) -> Form:
    """Return rows with the first or the last day of their months."""
    rows = rows_of(asked, accountId=asked.account)
    for row in rows:
        first = date.fromisoformat(str(row["date"])).replace(day=1)
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        suffix = chance.choice(("", "T00:00:00.000Z"))
        row["date"] = chance.choice((first, last)).isoformat() + suffix
    return Form(rows)


def rewritten_url(asked: Asked, chance: Random) -> Form:
    """Return rows with a URL that a gateway rewrote: path, host, order, and more parameters."""
    pairs = [f"{name}={quote_plus(value)}" for name, value in asked.parameters.items()]
    pairs += ["organizationId=9", "accountID=upper", "fromdate=1999-01-01", "empty=", "flag"]
    chance.shuffle(pairs)
    start = chance.choice(("/internal/v9", "//10.0.0.7:81/x", "https://h.example/a/b", ""))
    url = f"{start}?{'&'.join(pairs)}{chance.choice(('', '#fragment?accountId=z'))}"
    return Form(rows_of(asked, accountId=asked.account), url)


def everything_else(asked: Asked, chance: Random) -> Form:
    """Return rows with other ids and months, and a rewritten URL."""
    rows = first_day_of_month(asked, chance).rows
    return Form([{**row, "accountId": "a payer"} for row in rows], rewritten_url(asked, chance).url)


SERVERS = {
    "one id per account": Server(one_id_per_account, 1),
    "id of the payer": Server(id_of_the_payer, 1),
    "several ids": Server(several_ids, 1),
    "ids in some rows": Server(ids_in_some_rows, 1),
    "other ids of some accounts": Server(other_ids_of_some_accounts, 1),
    "months": Server(first_day_of_month, 0, "month"),
    "months, any date": Server(first_day_of_month, 0, "any"),
    "rewritten URL": Server(rewritten_url, 0),
    "everything else": Server(everything_else, 1, "month"),
}


async def run(name: str, seed: int) -> None:
    """Send first requests at once, then pull; both tenants do so at the same time."""
    server, chance = SERVERS[name], Random(seed)  # noqa: S311  a seeded test
    events = Events()
    item_type = chance.choice((CostItem, Amount))
    reports = []
    config = ClientConfig(
        max_concurrency=chance.choice((2, 8, 32, 64)), row_dates=server.row_dates, retry=RETRY
    )

    async def work(view: TenantClient) -> None:
        first = [
            view.costs.get(account, FIRST + timedelta(days=n), FIRST + timedelta(days=n + 4))
            for n, account in enumerate(ACCOUNTS[:FIRST_REQUESTS])
        ]
        assert [len(rows) for rows in await gather(*first)] == [5] * FIRST_REQUESTS
        plan = CostPlan.build(chance.sample(ACCOUNTS, 5), FIRST, date(2025, 3, 1), 10, "service")
        async with view.costs.pull(plan, item_type) as pulling:
            async for outcome in pulling:
                assert isinstance(outcome, Fetched), outcome
        reports.append(pulling.report)

    def answer(asked: Asked, _: int) -> Form:
        return server.form(asked, chance)

    async with (
        serving(answer, chance.choice((0, 0.001))) as (base_url, served),
        SpotBillingClient(TENANTS[0], base_url=base_url, config=config, hook=events) as client,
    ):
        await gather(work(client), work(client.with_token(TENANTS[1])))
    assert all(report.complete for report in reports)
    for token in TENANTS:
        sent = [asked for asked in served.asked if asked.tenant == token]
        assert len(sent) - len(set(sent)) <= server.extra, (name, seed, config.max_concurrency)
    assert sum(call.mismatches for call in events.calls) <= 2 * server.extra
    assert all(report.mismatches == 0 for report in reports)  # it was known before
