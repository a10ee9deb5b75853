"""Pulls ended by a signal at random moments; `benchmarks.claims.interruption` runs many more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.claims import cancellation, interruption


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Run a slow, faulty, paged emulator with a quota in a process of its own; yield its URL."""
    with cancellation.server() as url:
        yield url


@pytest.mark.parametrize("seed", range(4))
def test_a_signal_at_any_moment_leaves_things_in_order(
    base_url: str, seed: int, tmp_path: Path
) -> None:
    """The exit code names the signal, file and report agree, and nothing partial is left."""
    _, wrong = interruption.interrupted(base_url, seed, tmp_path)
    assert wrong == []
