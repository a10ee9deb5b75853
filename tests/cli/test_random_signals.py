"""A pull that a signal ends at a random moment; `benchmarks.claims.interruption` runs many more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.claims import cancellation, interruption


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A slow, faulty, paged emulator with a quota, in a process of its own."""
    with cancellation.server() as url:
        yield url


@pytest.mark.parametrize("seed", range(4))
def test_a_signal_at_any_moment_leaves_things_in_order(
    base_url: str, seed: int, tmp_path: Path
) -> None:
    """The code names the signal, file and report agree, and there is no traceback and no part."""
    _, wrong = interruption.interrupted(base_url, seed, tmp_path)
    assert wrong == []
