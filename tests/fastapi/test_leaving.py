"""Callers of a real backend leave at random moments (`benchmarks.claims.streaming`: many more)."""

from benchmarks.claims import streaming

CALLERS = 60


def test_nothing_is_left_of_callers_that_left() -> None:
    """No task, no connection in use, no request at the API; whoever stays gets all of it."""
    before, rounds = streaming.rounds_of(CALLERS, 2)
    for met in rounds:
        assert met.state.tasks == before.tasks
        assert (met.state.in_use, met.counts.under_way) == (0, 0)
        assert met.ends["complete"] >= CALLERS // 2
        assert met.ends["left"] > 0
        assert met.ends.keys() == {"complete", "left"}
