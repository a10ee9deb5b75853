"""Callers of a real backend that leave at random moments; `tests/soak` runs many more."""

from tests.soak.streaming import run_rounds

CALLERS = 60


def test_callers_that_leave_leave_nothing_behind() -> None:
    """No task, used connection or request at the API is left; other callers receive everything."""
    before, rounds = run_rounds(CALLERS, 2)
    for each in rounds:
        assert each.state.tasks == before.tasks
        assert (each.state.in_use, each.counts.in_flight) == (0, 0)
        assert each.ends["complete"] >= CALLERS // 2
        assert each.ends["left"] > 0
        assert each.ends.keys() == {"complete", "left"}
