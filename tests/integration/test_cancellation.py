"""Pulls and calls that are cut short at random moments; `tests/soak` runs many more."""

from collections.abc import Iterator

import pytest

from tests.soak.cancellation import emulator_server, run_scenarios

SEEDS = 50


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A slow, faulty, paged emulator with a quota, in a process of its own."""
    with emulator_server() as url:
        yield url


async def test_a_pull_cut_short_at_any_moment_leaves_nothing_behind(base_url: str) -> None:
    """No task, connection, permit or warning is left; report and client are in order."""
    found = await run_scenarios(base_url, range(SEEDS))
    assert found.problems == []
    assert found.moments
