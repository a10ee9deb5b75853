"""A pull through faults of every kind.

Run: `python -m benchmarks.claims.faults [--quick]`.

The real bill, day by day for each of its two accounts over a thousand days, is 2,000 slices: on 122
of them there are costs. At 5 % faults each slice has to come and the total has to be exact. At
100 % nearly all fail; then the pull has to end in time, without burying the server under retries.

What befell each request is drawn anew here, as the emulator draws it from its seed, and held
against what the client's telemetry tells.
"""

import asyncio
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple

from benchmarks.harness.bill import ACCOUNTS, TOTAL, real_bill
from benchmarks.harness.opponent import TOKEN, opponent
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, CostPlan, PullReport, SpotBillingClient
from spot_billing_async.emulator.chaos.randomness import Fault, FaultPlan, Latency, RandomTrace
from spot_billing_async.models import CostQuery
from spot_billing_async.telemetry import Event, RequestEnded

DAYS = 1000
FROM_DATE = date(2017, 1, 1)
DEADLINE_S = 60.0
MOST_REQUESTS_A_SLICE = 1.2
SEEDS = range(1, 8)
QUICK_SEEDS = range(1, 2)
# The real answers are far smaller, and a gzip bomb is far larger.
CONFIG = ClientConfig(max_response_bytes=2**20)


class Figures(NamedTuple):
    """What a pull came to, and what befell its requests."""

    report: PullReport
    faults: Counter[Fault]

    @property
    def missing(self) -> int:
        """Slices that are neither ok nor empty."""
        return self.report.planned - self.report.ok - self.report.empty

    @property
    def astray(self) -> int:
        """Slices in no state, or in several."""
        report = self.report
        told = report.ok + report.empty + report.failed + report.cancelled + report.not_started
        return abs(report.planned - told)

    @property
    def requests_a_slice(self) -> float:
        """Requests sent for each that was planned."""
        return self.report.requests / self.report.planned

    @property
    def off(self) -> float:
        """How far the total is from the bill's."""
        return float(abs(self.report.totals.get("USD", 0) - TOTAL))

    @property
    def elapsed_s(self) -> float:
        """Seconds of the whole pull."""
        return self.report.elapsed_s


async def pull(base_url: str, share: float, seed: int) -> Figures:
    """Pull the bill, and see what befell."""
    plan = CostPlan.build(
        ACCOUNTS, FROM_DATE, FROM_DATE + timedelta(days=DAYS - 1), "day", "service"
    )
    trace = RandomTrace(FaultPlan.even(share), Latency(0), seed)
    faults: Counter[Fault] = Counter()
    told: Counter[str | None] = Counter()

    def hook(event: Event) -> None:
        if isinstance(event, RequestEnded):
            told[event.error] += 1

    async with (
        SpotBillingClient(TOKEN, base_url=base_url, config=CONFIG, hook=hook) as client,
        client.costs.pull(plan, deadline_s=DEADLINE_S) as run,
    ):
        async for outcome in run:
            for _ in range(outcome.attempts):
                fault = trace.draw("GET", target_of(outcome.query)).fault
                faults.update([] if fault is None else [fault])
    # The true answer in slow drips is no error; what the deadline cancels is one of no fault.
    cancelled = told.pop("CancelledError", 0)
    spoilt = told.total() - told[None]
    assert abs(faults.total() - faults[Fault.SLOW_DRIP] - spoilt) <= cancelled, (told, faults)
    return Figures(run.report, faults)


def target_of(query: CostQuery) -> str:
    """Path and query of a slice, as the client sends them."""
    return (
        f"/billingEngine/cost?accountId={query.account_id}&fromDate={query.from_date}"
        f"&toDate={query.to_date}&groupBy={query.group_by}"
    )


def pulls(share: float, seeds: range) -> list[Figures]:
    """A pull a seed, each from an emulator of its own."""
    bills, figures = real_bill(), []
    for seed in seeds:
        with opponent("--faults", str(share), "--seed", str(seed), bills=bills) as base_url:
            figures.append(asyncio.run(pull(base_url, share, seed)))
    return figures


def show(name: str, values: list[float], bar: float) -> bool:
    """Print a figure over the seeds; whether the worst of it is within the bar."""
    worst = max(values)
    print(f"{name:40} {statistics.median(values):>10.4g} {worst:>10.4g} {bar:>8g}", flush=True)
    return worst <= bar


def main() -> None:
    """Print a table: figure, median and worst over the seeds, and the bar; exit 1 if one fails."""
    seeds = QUICK_SEEDS if is_quick(__doc__) else SEEDS
    print(f"{len(ACCOUNTS) * DAYS} slices, seeds {seeds[0]} to {seeds[-1]}")
    print(f"{'figure':40} {'median':>10} {'worst':>10} {'bar':>8}")
    few, many = pulls(0.05, seeds), pulls(1.0, seeds)
    rows: list[tuple[str, list[Figures], Callable[[Figures], float], float]] = [
        ("5 %: slices that are missing", few, lambda each: each.missing, 0),
        (f"5 %: total's distance from {TOTAL}", few, lambda each: each.off, 0),
        ("5 %: requests a slice", few, lambda each: each.requests_a_slice, MOST_REQUESTS_A_SLICE),
        ("5 %: seconds", few, lambda each: each.elapsed_s, DEADLINE_S),
        ("100 %: slices in no state or in several", many, lambda each: each.astray, 0),
        (
            "100 %: requests a slice",
            many,
            lambda each: each.requests_a_slice,
            MOST_REQUESTS_A_SLICE,
        ),
        ("100 %: seconds", many, lambda each: each.elapsed_s, DEADLINE_S),
    ]
    good = [show(name, [read(each) for each in met], bar) for name, met, read, bar in rows]
    for share, met in (("5 %", few), ("100 %", many)):
        counts = sum((each.faults for each in met), Counter[Fault]())
        kinds = FaultPlan.even(1).shares
        print(f"{share} met: " + ", ".join(f"{f.value} {counts[f]}" for f in kinds))
        good.append(all(counts[fault] for fault in kinds))
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
