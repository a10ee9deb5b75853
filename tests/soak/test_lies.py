"""Two hundred syncs from a server that lies once, and a thousand from one that does not."""

import pytest

from tests.soak.lies import LIES, measure, measure_free_rows

pytestmark = pytest.mark.soak


async def test_every_lie_is_caught_and_the_truth_raises_no_alarm() -> None:
    """A lie is retried, fails its window, or is named by day; the next sync repairs the table."""
    verdicts, not_caught, alarms = await measure(lies=50, clean_runs=1000)
    assert not_caught == []
    assert {lie: counts.total() for lie, counts in verdicts.items()} == dict.fromkeys(LIES, 50)
    assert alarms == []


async def test_a_lost_row_escapes_only_where_it_costs_nothing() -> None:
    """No lost row leaves a wrong sum without a report, also where half of the rows cost nothing."""
    verdicts = await measure_free_rows(50)
    assert verdicts.total() == 50
    assert verdicts["escaped"] == verdicts["not repaired"] == 0
