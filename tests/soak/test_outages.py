"""Outages of every kind in a pull of 2,000 slices, broken accounts, and callers of a backend.

Run with `-s` to see the figures.
"""

import asyncio
import time
from statistics import quantiles

import pytest
from fastapi import FastAPI

from spot_billing_async import CostQuery
from spot_billing_async.fastapi import SpotBilling, add_error_handlers, spot_billing_lifespan
from tests.outages import (
    DAY,
    KINDS,
    TOKEN,
    FailingServer,
    Kind,
    Result,
    broken_plan,
    plan_of,
    pull,
)
from tests.support import fetched, serve_app

pytestmark = pytest.mark.soak

SLICES, FIRST, WORKERS, CALLERS = 2_000, 500, 32, 100
CASES = [(kind, away_s) for away_s in (0.2, 2.0, 10.0) for kind in KINDS]
LONG: list[tuple[Kind, float]] = [("503", 60.0), ("refused", 60.0)]


@pytest.mark.parametrize(("kind", "away_s"), CASES + LONG)
async def test_an_outage_costs_no_slice(kind: Kind, away_s: float) -> None:
    """Nothing is missing, and few requests are sent while the API is away."""
    result = await pull(FailingServer(kind, away_s, FIRST), plan_of(SLICES))
    report = result.report
    print(  # noqa: T201  the figures
        f"{kind:9} {away_s:4.1f} s: missing {report.planned - report.ok}, sent while away "
        f"{result.sent_while_away} of {WORKERS + 20 + away_s:.0f}, full speed after "
        f"{result.late_s:.2f} s, {len(result.tries)} events, {report.requests} requests"
    )
    assert report.ok == SLICES
    assert result.sent_while_away <= WORKERS + 20 + away_s


async def broken(plan: list[CostQuery]) -> Result:
    accounts = {query.account_id for query in plan if query.account_id is not None}
    always = frozenset(each for each in accounts if each.startswith("b"))
    result = await pull(FailingServer("500", 0.0, -1, always), plan)
    expected = sorted(str(query) for query in plan if query.account_id in always)
    assert sorted(str(failure.query) for failure in result.failed) == expected
    return result


@pytest.mark.parametrize("place", ["accounts", "first", "middle", "last"])
async def test_broken_queries_are_no_outage(place: str) -> None:
    """Exactly the broken queries fail, wherever they stand, and cost little time."""
    plan, sound = broken_plan(40, 2, 12), broken_plan(40, 0, 12)
    if place != "accounts":
        sound = list(plan_of(494))
        at = {"first": 0, "middle": 250, "last": 494}[place]
        ten = [CostQuery(account_id=f"b{n}", from_date=DAY, to_date=DAY) for n in range(10)]
        plan = [*sound[:at], *ten, *sound[at:]]
    took_s = [(await broken(each)).report.elapsed_s for each in (sound, plan) for _ in range(3)]
    extra_s = min(took_s[3:]) - min(took_s[:3])
    print(f"broken {place}: {extra_s:+.2f} s")  # noqa: T201  the figure


async def test_callers_of_a_backend_get_their_error_soon() -> None:
    """Callers of a FastAPI app do not wait for the end of an outage."""
    server = FailingServer("503", 3600.0, first=1)
    async with server.serving() as base_url:
        app = FastAPI(lifespan=spot_billing_lifespan(token=TOKEN, base_url=base_url))
        add_error_handlers(app)

        @app.get("/costs")
        async def costs(account_id: str, client: SpotBilling) -> int:
            return len(await client.costs.get(account_id, DAY, DAY))

        async with serve_app(app) as url:

            async def call(number: int) -> tuple[int, float]:
                began_s = time.monotonic()
                response = await fetched(f"{url}/costs?account_id=a{number}")
                return response.status, time.monotonic() - began_s

            answers = await asyncio.gather(*(call(number) for number in range(CALLERS)))
    times_s = quantiles([took_s for _, took_s in answers], n=100)
    print(f"p50 {times_s[49]:.2f} s, p99 {times_s[98]:.2f} s")  # noqa: T201  the figures
    assert {status for status, _ in answers} == {503}
