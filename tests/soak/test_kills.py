"""A hundred syncs that are killed."""

from pathlib import Path

import pytest

from tests.soak.kills import REQUESTS, emulator_server, kill_times, problems_of, sync_with_kills
from tests.support_real_bill import TOTAL, real_bill_files


@pytest.mark.soak
@pytest.mark.usefixtures("shared")
def test_a_hundred_kills_cost_requests_only(tmp_path: Path) -> None:
    """Each table ends as an undisturbed one, within the bound of additional requests per kill."""
    problems, kills, seed = [], 0, 0
    with emulator_server(real_bill_files()) as server:
        undisturbed = sync_with_kills(server, str(tmp_path / "undisturbed"), [])
        assert (undisturbed.total, undisturbed.requests) == (TOTAL, REQUESTS)
        while kills < 100:
            result = sync_with_kills(server, str(tmp_path / str(seed)), kill_times(seed))
            problems += [f"seed {seed}: {each}" for each in problems_of(result, undisturbed)]
            kills += result.kills
            seed += 1
    assert problems == []
