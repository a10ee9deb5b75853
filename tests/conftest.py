"""Fixtures of all tests: an isolated environment, and the real bills."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: a test must not fail because the machine is busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `pytest --hypothesis-profile=thorough` tries five times as many examples.
settings.register_profile("thorough", settings.get_profile("untimed"), max_examples=500)
# `--hypothesis-profile=brief` tries a quarter, for a second run on the same commit.
settings.register_profile("brief", settings.get_profile("untimed"), max_examples=25)
settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(autouse=True)
def _isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the token, account and credentials file of the user from every test."""
    for name in (
        "TOKEN",
        "ACCOUNT",
        "BASE_URL",
        "PROFILE",
        "CREDENTIALS_PROFILE",
        "SHARED_CREDENTIALS_FILE",
        "CREDENTIALS_FILE",
    ):
        monkeypatch.delenv(f"SPOTINST_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return a function that makes a link belong to another user, as this process sees it."""

    def change_owner(link: Path) -> None:
        if os.geteuid() == 0:
            os.chown(link, 54321, -1, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: link.lstat().st_uid + 1)

    return change_owner


@pytest.fixture
def shared() -> Path:
    """Return the folder of the contract and the real bills, which the project does not ship."""
    if not SHARED.is_dir():
        pytest.skip("the contract and the real bills are not beside this checkout")
    return SHARED


def pytest_unconfigure() -> None:
    """Remove the callback that Hypothesis adds to the garbage collector.

    It keeps modules alive at interpreter exit, and DuckDB then reports its objects as leaked.
    """
    gc.callbacks.clear()
