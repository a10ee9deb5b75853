"""Sixty commands that are ended by signals."""

from pathlib import Path

import pytest

from tests.soak.cancellation import emulator_server
from tests.soak.interruption import run_interrupted


@pytest.mark.soak
def test_sixty_interrupted_commands_leave_their_folder_consistent(tmp_path: Path) -> None:
    """The exit code names the signal, file and report agree, and nothing else is left."""
    problems, begun = [], 0
    with emulator_server() as base_url:
        for seed in range(60):
            folder = tmp_path / str(seed)
            folder.mkdir()
            _, found = run_interrupted(base_url, seed, folder)
            problems += [f"seed {seed}: {each}" for each in found]
            begun += (folder / "report.json").exists()
    assert problems == []
    assert begun > 0, "no signal came after a pull had begun"
