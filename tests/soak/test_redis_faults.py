"""Calls through a Redis server with faults, and calls without Redis at the same time.

`python -m pytest -m soak -s tests/soak/test_redis_faults.py` prints the figures of the Redis guide.
"""

import pytest

from tests.redis.faults import FAULTS, Fault, measure_fault
from tests.support_redis import redis_server

SEEDS = range(1, 6)
FAULT_S = 4.0
MOST_ADDITIONAL_S = 1.0

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
async def test_a_fault_of_redis_costs_a_second_at_most(fault: Fault) -> None:
    """No call fails, and none takes a second longer than the slowest one without Redis."""
    problems = []
    for seed in SEEDS:
        with redis_server() as server:
            shared, alone = await measure_fault(
                server, fault, seed=seed, before_s=1.0, for_s=FAULT_S, after_s=2.0
            )
        figures = (
            f"{fault.__name__} {seed}: {shared.calls} calls, {len(shared.failures)} failed, slowest"
            f" {shared.longest_s:.2f} s, {alone.longest_s:.2f} s without Redis; requests"
            f" {shared.requests} and {alone.requests}"
        )
        print(figures)  # noqa: T201  the figures
        if shared.failures or shared.longest_s > alone.longest_s + MOST_ADDITIONAL_S:
            problems.append(figures)
    assert problems == []
