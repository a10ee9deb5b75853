"""Pulls of the real bill through faults of every kind, for seven seeds.

Day by day for each of its two accounts over a thousand days, the bill is 2,000 slices; 122 of them
have costs. The fault of each request is drawn again here, as the emulator draws it from its seed,
and compared with the client's telemetry.
"""

from collections import Counter
from datetime import date, timedelta
from typing import NamedTuple

import pytest

from spot_billing_async import ClientConfig, CostPlan, PullReport, SpotBillingClient
from spot_billing_async.emulator.chaos.randomness import Fault, FaultPlan, Latency, RandomTrace
from spot_billing_async.models import CostQuery
from spot_billing_async.telemetry import Event, RequestEnded
from tests.support_processes import TOKEN, emulator_process
from tests.support_real_bill import ACCOUNTS, TOTAL, real_bill_files

DAYS = 1000
FROM_DATE = date(2017, 1, 1)
DEADLINE_S = 60.0
MOST_REQUESTS_PER_SLICE = 1.2
# The real responses are far smaller, and a gzip bomb is far larger.
# A request that found its kept connection dead is repeated outside the retry budget.
CONFIG = ClientConfig(max_response_bytes=2**20, reuse_connections=False)

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("shared")]


class Result(NamedTuple):
    """A pull's report, and the faults of its requests."""

    report: PullReport
    faults: Counter[Fault]


async def pull(share: float, seed: int) -> Result:
    """Pull the bill from an emulator with a share of faults."""
    plan = CostPlan.build(
        ACCOUNTS, FROM_DATE, FROM_DATE + timedelta(days=DAYS - 1), "day", "service"
    )
    chance = RandomTrace(FaultPlan.even(share), Latency(0), seed)
    faults: Counter[Fault] = Counter()
    errors: Counter[str | None] = Counter()

    def hook(event: Event) -> None:
        if isinstance(event, RequestEnded):
            errors[event.error] += 1

    options = ("--faults", str(share), "--seed", str(seed))
    with emulator_process(*options, bills=real_bill_files()) as base_url:
        async with (
            SpotBillingClient(TOKEN, base_url=base_url, config=CONFIG, hook=hook) as client,
            client.costs.pull(plan, deadline_s=DEADLINE_S) as run,
        ):
            async for outcome in run:
                for _ in range(outcome.attempts):
                    fault = chance.draw("GET", target_of(outcome.query)).fault
                    faults.update([] if fault is None else [fault])
    # A correct response in slow drips is no error; requests cancelled at the deadline had no fault.
    cancelled = errors.pop("CancelledError", 0)
    failed = errors.total() - errors[None]
    assert abs(faults.total() - faults[Fault.SLOW_DRIP] - failed) <= cancelled, (errors, faults)
    assert run.report.elapsed_s <= DEADLINE_S
    assert run.report.requests <= MOST_REQUESTS_PER_SLICE * run.report.planned
    return Result(run.report, faults)


def target_of(query: CostQuery) -> str:
    """Return the path and query of a slice's request, as the client sends them."""
    return (
        f"/billingEngine/cost?accountId={query.account_id}&fromDate={query.from_date}"
        f"&toDate={query.to_date}&groupBy={query.group_by}"
    )


async def test_five_percent_faults_cost_retries_only() -> None:
    """Every slice is fetched, the total is exact, and every kind of fault occurred."""
    faults: Counter[Fault] = Counter()
    for seed in range(1, 8):
        result = await pull(0.05, seed)
        assert result.report.complete
        assert result.report.totals == {"USD": TOTAL}
        faults += result.faults
    assert set(faults) == set(FaultPlan.even(1).shares)


async def test_a_pull_of_faults_only_ends_with_a_report_that_adds_up() -> None:
    """The pull ends in time, each slice in exactly one state, without a flood of retries."""
    faults: Counter[Fault] = Counter()
    for seed in range(1, 8):
        report, found = await pull(1.0, seed)
        ended = report.ok + report.empty + report.failed + report.cancelled + report.not_started
        assert report.planned == ended
        faults += found
    assert set(faults) == set(FaultPlan.even(1).shares)
