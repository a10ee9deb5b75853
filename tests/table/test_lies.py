"""A server that lies in one response; `tests/soak` tries many more."""

from tests.soak.lies import LIES, measure


async def test_every_lie_is_caught_and_the_truth_raises_no_alarm() -> None:
    """A lie is retried, fails its window, or is named by day; the next sync repairs the table."""
    verdicts, not_caught, alarms = await measure(lies=3, clean_runs=6)
    assert not_caught == []
    assert {lie: counts.total() for lie, counts in verdicts.items()} == dict.fromkeys(LIES, 3)
    assert alarms == []
