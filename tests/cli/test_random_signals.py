"""A pull that a signal ends at a random moment; `tests/soak` runs many more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.cancellation import emulator_server
from tests.soak.interruption import run_interrupted


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A slow, faulty, paged emulator with a quota, in a process of its own."""
    with emulator_server() as url:
        yield url


@pytest.mark.parametrize("seed", range(4))
def test_an_interrupted_pull_leaves_its_folder_consistent(
    base_url: str, seed: int, tmp_path: Path
) -> None:
    """The exit code names the signal, file and report agree, and nothing else is left."""
    _, problems = run_interrupted(base_url, seed, tmp_path)
    assert problems == []
