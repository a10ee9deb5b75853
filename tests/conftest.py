"""Fixtures of all tests: an isolated environment, and the real bills."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: a test must not fail because the machine is busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `pytest --hypothesis-profile=thorough` tries five times as many examples.
settings.register_profile("thorough", settings.get_profile("untimed"), max_examples=500)
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
