"""This client: `client.costs.pull`, totals and report included."""

import time
from datetime import date, timedelta

from benchmarks.task import TOKEN, Task, resident_mib
from spot_billing_async import ClientConfig, CostPlan, Fetched, SpotBillingClient

STANDS_ON = ("aiohttp", "anyio", "msgspec")
FIRST = date(2000, 1, 1)


def plan_of(slices: int, accounts: int) -> CostPlan:
    """A plan of so many slices, a day each, evenly among so many accounts."""
    days = slices // accounts
    names = [f"{i:012}" for i in range(accounts)]
    plan = CostPlan.build(names, FIRST, FIRST + timedelta(days=days - 1), window="day")
    assert len(plan) == slices
    return plan


async def run(task: Task) -> dict[str, float]:
    """Plan, pull, and stop when so many outcomes came as the task asks for."""
    memory_mib, began_s = resident_mib(), time.perf_counter()
    plan = plan_of(task.planned or task.calls, task.accounts)
    plan_s, plan_mib = time.perf_counter() - began_s, resident_mib() - memory_mib
    rows, taken, first_s = 0, 0, 0.0
    config = ClientConfig(max_concurrency=task.concurrency)
    async with SpotBillingClient(TOKEN, base_url=task.base_url, config=config) as client:
        began_s = time.perf_counter()
        async with client.costs.pull(plan) as run:
            async for outcome in run:
                assert isinstance(outcome, Fetched), outcome
                first_s = first_s or time.perf_counter() - began_s
                rows += len(outcome.items)
                taken += 1
                if taken == task.calls:
                    break
        pull_s = time.perf_counter() - began_s
    assert run.report.rows == rows
    return {
        "rows": rows,
        "plan_s": plan_s,
        "plan_mib": plan_mib,
        "first_s": first_s,
        "pull_s": pull_s,
    }
