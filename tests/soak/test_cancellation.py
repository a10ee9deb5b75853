"""Pulls and calls that are cut short a thousand times."""

import pytest

from tests.soak.cancellation import emulator_server, run_scenarios


@pytest.mark.soak
async def test_a_thousand_scenarios_leave_nothing_behind() -> None:
    """No task, connection, permit or warning is left, wherever a cancellation meets a task."""
    with emulator_server() as base_url:
        found = await run_scenarios(base_url, range(1000))
    assert found.problems == []
    assert found.moments.keys() >= {"token", "queue", "sending", "reading an outcome"}
