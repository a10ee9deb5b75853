"""Calls while a real Redis server is killed, halted, cut off, full, locked, or loses answers."""

import pytest

from tests.redis.faults import FAULTS, Fault, measure_fault
from tests.support_redis import RedisServer


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
async def test_no_fault_of_redis_fails_a_call(redis_server: RedisServer, fault: Fault) -> None:
    """Each call returns the rows of its day while Redis has a fault, and after it."""
    shared, _ = await measure_fault(
        redis_server, fault, seed=1, before_s=0.2, for_s=0.5, after_s=0.3
    )
    assert shared.calls > 0
    assert shared.failures == []
