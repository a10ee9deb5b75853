"""What many tests stand on: a quiet environment, and the real bills."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: tests assert no timing.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `pytest --hypothesis-profile=thorough` looks five times as long.
settings.register_profile("thorough", settings.get_profile("untimed"), max_examples=500)
settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees a token, an account or a credentials file of whoever runs it."""
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
    """The folder of the contract and of real bills, which the project does not ship."""
    if not SHARED.is_dir():
        pytest.skip("the contract and the real bills are not beside this checkout")
    return SHARED


def pytest_unconfigure() -> None:
    """Take back what Hypothesis leaves with the garbage collector.

    Through that callback modules outlive the interpreter, and DuckDB then prints pages about
    objects that it takes for leaked.
    """
    gc.callbacks.clear()
