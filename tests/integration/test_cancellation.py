"""Pulls and calls that are cancelled at random times; `benchmarks` runs many more."""

from collections.abc import Iterator

import pytest

from benchmarks.claims import cancellation

SEEDS = 50


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Yield the URL of a slow, faulty, paged emulator with a quota, in its own process."""
    with cancellation.server() as url:
        yield url


async def test_a_cancellation_at_any_time_leaves_nothing_behind(base_url: str) -> None:
    """A cancellation leaves no task, connection, permit or warning, and the client still works."""
    found = await cancellation.many(base_url, range(SEEDS))
    assert found.wrong == []
    assert found.moments
