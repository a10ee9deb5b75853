"""Callers that leave a real backend at random moments (`benchmarks.claims.streaming`: more)."""

from benchmarks.claims import streaming

CALLERS = 60


def test_callers_that_left_leave_nothing_behind() -> None:
    """Callers that left leave no task, connection or request behind; the others get all rows."""
    before, rounds = streaming.rounds_of(CALLERS, 2)
    for result in rounds:
        assert result.state.tasks == before.tasks
        assert (result.state.in_use, result.counts.under_way) == (0, 0)
        assert result.ends["complete"] >= CALLERS // 2
        assert result.ends["left"] > 0
        assert result.ends.keys() == {"complete", "left"}
