"""Pulls and calls cut short at random moments leave nothing behind; `benchmarks` runs many more."""

from collections.abc import Iterator

import pytest

from benchmarks.claims import cancellation

SEEDS = 50


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A slow, faulty, paged emulator with a quota, in a process of its own."""
    with cancellation.server() as url:
        yield url


async def test_cut_short_at_any_moment_nothing_is_left(base_url: str) -> None:
    """No task, connection, place or warning; the report adds up, and the client still answers."""
    found = await cancellation.many(base_url, range(SEEDS))
    assert found.wrong == []
    assert found.moments
