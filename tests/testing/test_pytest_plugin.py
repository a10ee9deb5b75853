"""Pytest fixture of the emulator: kinds of tests that use it, options, and no cost for others."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import spot_billing_async
from spot_billing_async import SpotBillingClient
from spot_billing_async.testing import RunningEmulator, running_emulator


class PytestRun:
    """Run of pytest in a subprocess, without the configuration of this checkout.

    Args:
        folder: the folder of its tests.
        arguments: additional arguments.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        scope = "asyncio_default_fixture_loop_scope=function"
        options = ("-q", "-p", "no:cacheprovider", "-W", "error", "-o", scope, *arguments)
        self.process = subprocess.run(  # noqa: S603  this interpreter
            [sys.executable, "-m", "pytest", *options, str(folder)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def passed(self) -> int:
        """Return the number of passed tests; fail if a test did not pass."""
        assert self.process.returncode == 0, self.process.stdout + self.process.stderr
        return int(self.process.stdout.splitlines()[-1].split(" passed")[0].split()[-1])


STYLES = """
import os
import asyncio
import pytest
from spot_billing_async import SpotBillingClient

async def accounts(server):
    async with SpotBillingClient(**server.client_arguments) as client:
        return tuple(account.account_id for account in await client.accounts.list())

def test_plain(spot_billing_emulator):
    assert asyncio.run(accounts(spot_billing_emulator)) == spot_billing_emulator.account_ids

@pytest.mark.asyncio
async def test_with_pytest_asyncio(spot_billing_emulator):
    assert await accounts(spot_billing_emulator) == spot_billing_emulator.account_ids

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_with_anyio(spot_billing_emulator, anyio_backend):
    assert await accounts(spot_billing_emulator) == spot_billing_emulator.account_ids

def test_with_environment(spot_billing_emulator, monkeypatch):
    for name, value in spot_billing_emulator.environment.items():
        monkeypatch.setenv(name, value)
    async def account_count():
        async with SpotBillingClient() as client:
            return len(await client.accounts.list())
    assert asyncio.run(account_count()) == 24 == len(spot_billing_emulator.account_ids)
    assert spot_billing_emulator.emulator.requests == 1
"""


def test_the_fixture_works_in_every_kind_of_test(tmp_path: Path) -> None:
    """Plain, pytest-asyncio and anyio tests use it, by client arguments or by the environment."""
    (tmp_path / "test_styles.py").write_text(STYLES)
    assert PytestRun(tmp_path).passed() == 4


def test_the_options_fixture_can_be_overridden(tmp_path: Path) -> None:
    """A test module overrides the options fixture to set arguments of the emulator."""
    (tmp_path / "test_options.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def spot_billing_emulator_options():\n"
        "    return {'token': 'mine'}\n"
        "def test_token(spot_billing_emulator):\n"
        "    assert spot_billing_emulator.token == 'mine'\n"
    )
    assert PytestRun(tmp_path).passed() == 1


def test_an_unused_fixture_imports_nothing(tmp_path: Path) -> None:
    """The plugin is loaded in every run of pytest, so it does not even import the package."""
    heavy = ("spot_billing_async", "aiohttp", "anyio.from_thread", "duckdb", "msgspec")
    (tmp_path / "test_modules.py").write_text(
        "import sys\n"
        "def test_modules():\n"
        "    assert 'spot_billing_pytest' in sys.modules\n"
        f"    assert not set({heavy}) & set(sys.modules)\n"
    )
    others = ("schemathesis", "hypothesispytest", "anyio")  # plugins that import some of these
    assert PytestRun(tmp_path, *(f"-pno:{name}" for name in others)).passed() == 1


def test_without_duckdb_the_error_names_the_extra(tmp_path: Path) -> None:
    """A test that uses the emulator fails with the install command, and is not skipped."""
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['duckdb'] = None\n")
    (tmp_path / "test_it.py").write_text("def test_it(spot_billing_emulator): pass\n")
    run = PytestRun(tmp_path)
    assert run.process.returncode == 1
    assert "pip install '.[emulator]'" in run.process.stdout


def test_the_installed_package_registers_it() -> None:
    """The package registers the plugin by entry point, and installs this checkout's file."""
    (entry_point,) = entry_points(group="pytest11", name="spot_billing")
    assert entry_point.value == "spot_billing_pytest"
    source = Path(spot_billing_async.__file__).parent / "testing" / "pytest_plugin.py"
    installed = Path(entry_point.load().__file__)
    assert installed.read_bytes() == source.read_bytes(), "changed: pip install -e . copies it"


async def test_the_typed_fixture(spot_billing_emulator: RunningEmulator) -> None:
    """The fixture's typed client arguments connect a client to the emulator."""
    async with SpotBillingClient(**spot_billing_emulator.client_arguments) as client:
        assert len(await client.accounts.list()) == len(spot_billing_emulator.account_ids) == 24


def test_the_context_manager_without_pytest() -> None:
    """`running_emulator` runs an emulator without pytest, with its request counter."""
    with running_emulator(token="mine") as server:
        assert server.token == "mine"
        assert server.emulator.requests == 0
