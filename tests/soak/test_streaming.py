"""A thousand callers of a streaming backend at once, half of whom leave."""

import pytest

from spot_billing_async import ClientConfig
from tests.soak.streaming import run_rounds

CALLERS = 1000
MOST_GROWTH_MIB = 4.0


@pytest.mark.soak
def test_a_thousand_callers_leave_nothing_behind() -> None:
    """Callers that stay receive everything; tasks, connections and memory do not grow.

    Memory is compared from the second round on: in the first one, allocators and pools grow to the
    size that such a number of callers needs.
    """
    before, rounds = run_rounds(CALLERS, 5)
    for each in rounds:
        assert each.ends.keys() == {"complete", "left"}
        assert each.ends["complete"] >= CALLERS // 2
        assert each.state.tasks <= before.tasks
        assert (each.state.in_use, each.counts.in_flight) == (0, 0)
    last = rounds[-1]
    assert last.state.sockets - before.sockets <= ClientConfig().max_concurrency
    assert last.counts.aborted > 0
    assert last.state.resident_mib - rounds[1].state.resident_mib <= MOST_GROWTH_MIB
