"""Fixtures that run the command, in a process of its own or in this one, against an emulator."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from spot_billing_async.cli.app import run
from spot_billing_async.emulator import Emulator

TOKEN = "an-invented-token"

Call = Callable[..., tuple[int, str, str]]
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment that has nothing of the machine's but PATH and the import path."""
    return {
        "HOME": str(tmp_path / "home"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path) -> Cli:
    """Return a function that runs the command as a process in an empty folder, and waits."""

    def call(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  this interpreter
            [sys.executable, "-m", "spot_billing_async.cli", *words],
            cwd=tmp_path,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def served() -> Iterator[Mapping[str, str]]:
    """Run `spot-billing emulator` over its sample; yield the environment of its clients."""
    with subprocess.Popen(  # noqa: S603  this interpreter
        [
            *(sys.executable, "-m", "spot_billing_async.cli"),
            *("emulator", "--port", "0", "--token", TOKEN),
        ],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        next(process.stdout)
        _, _, base_url = next(process.stdout).strip().partition("SPOTINST_BASE_URL=")
        yield {"SPOTINST_BASE_URL": base_url, "SPOTINST_TOKEN": TOKEN}
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.read()


@pytest.fixture
def call(
    served: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Return a function that runs the command in this process, in an empty folder.

    It returns the exit code, standard output and standard error.
    """
    for name, value in served.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def execute(*words: str) -> tuple[int, str, str]:
        code = run(words)
        return code, *capsys.readouterr()

    return execute


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Run an emulator in this process, slow enough that a test can interrupt a pull."""
    async with Emulator(token=TOKEN, latency="20ms") as server:
        yield server
