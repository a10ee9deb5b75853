"""This client: `client.costs.pull`, with totals and report."""

import time

from benchmarks.harness.task import TOKEN, Measurement, Task
from benchmarks.harness.watch import Stopwatch, resident_mib
from benchmarks.peers.plans import plan_of
from spot_billing_async import ClientConfig, CostPlan, Fetched, SpotBillingClient

LIBRARIES = ("aiohttp", "anyio", "msgspec")


async def run(task: Task) -> Measurement:
    """Plan and pull, and stop after `task.calls` outcomes."""
    memory_mib, began_s = resident_mib(), time.perf_counter()
    plan = plan_of(task.planned or task.calls, task.accounts)
    plan_s, plan_mib = time.perf_counter() - began_s, resident_mib() - memory_mib
    config = ClientConfig(max_concurrency=task.concurrency)
    async with SpotBillingClient(TOKEN, base_url=task.base_url, config=config) as client:
        with Stopwatch(task) as watch:
            rows, first_s = await _pull(client, plan, task.calls)
    return watch.measurement(rows, plan_s=plan_s, plan_mib=plan_mib, first_s=first_s)


async def _pull(client: SpotBillingClient, plan: CostPlan, most: int) -> tuple[int, float]:
    """Read at most `most` outcomes; return their rows, and the seconds until the first."""
    rows, taken, first_s = 0, 0, 0.0
    began_s = time.perf_counter()
    async with client.costs.pull(plan) as run:
        async for outcome in run:
            assert isinstance(outcome, Fetched), outcome
            first_s = first_s or time.perf_counter() - began_s
            rows += len(outcome.items)
            taken += 1
            if taken == most:
                break
    assert run.report.rows == rows
    return rows, first_s
