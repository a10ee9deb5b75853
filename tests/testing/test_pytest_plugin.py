"""The emulator as a fixture for users' tests, of whatever kind, and what it costs all others."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import spot_billing_async
from spot_billing_async import SpotBillingClient
from spot_billing_async.testing import RunningEmulator, running_emulator


class Run:
    """A run of pytest in a process of its own, with nothing of this checkout's configuration.

    Args:
        folder: where its tests are.
        words: further arguments.
    """

    def __init__(self, folder: Path, *words: str) -> None:
        scope = "asyncio_default_fixture_loop_scope=function"
        options = ("-q", "-p", "no:cacheprovider", "-W", "error", "-o", scope, *words)
        self.done = subprocess.run(  # noqa: S603  this interpreter
            [sys.executable, "-m", "pytest", *options, str(folder)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def passed(self) -> int:
        """How many tests passed, where no other came to another end."""
        assert self.done.returncode == 0, self.done.stdout + self.done.stderr
        return int(self.done.stdout.splitlines()[-1].split(" passed")[0].split()[-1])


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
async def test_of_pytest_asyncio(spot_billing_emulator):
    assert await accounts(spot_billing_emulator) == spot_billing_emulator.account_ids

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_of_anyio(spot_billing_emulator, anyio_backend):
    assert await accounts(spot_billing_emulator) == spot_billing_emulator.account_ids

def test_by_environment(spot_billing_emulator, monkeypatch):
    for name, value in spot_billing_emulator.environment.items():
        monkeypatch.setenv(name, value)
    async def mine():
        async with SpotBillingClient() as client:
            return len(await client.accounts.list())
    assert asyncio.run(mine()) == 24 == len(spot_billing_emulator.account_ids)
    assert spot_billing_emulator.emulator.requests == 1
"""


def test_it_serves_tests_of_every_kind(tmp_path: Path) -> None:
    """Plain ones, pytest-asyncio's, anyio's; by arguments or by the environment."""
    (tmp_path / "test_styles.py").write_text(STYLES)
    assert Run(tmp_path).passed() == 4


def test_its_options_are_a_fixture_to_override(tmp_path: Path) -> None:
    """In a conftest, a module or a class of the user's."""
    (tmp_path / "test_options.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def spot_billing_emulator_options():\n"
        "    return {'token': 'mine'}\n"
        "def test_token(spot_billing_emulator):\n"
        "    assert spot_billing_emulator.token == 'mine'\n"
    )
    assert Run(tmp_path).passed() == 1


def test_unused_it_loads_nothing(tmp_path: Path) -> None:
    """It is there in every run of pytest: not even the package itself comes along."""
    heavy = ("spot_billing_async", "aiohttp", "anyio.from_thread", "duckdb", "msgspec")
    (tmp_path / "test_modules.py").write_text(
        "import sys\n"
        "def test_modules():\n"
        "    assert 'spot_billing_pytest' in sys.modules\n"
        f"    assert not set({heavy}) & set(sys.modules)\n"
    )
    others = ("schemathesis", "hypothesispytest", "anyio")  # they import some of these
    assert Run(tmp_path, *(f"-pno:{name}" for name in others)).passed() == 1


def test_without_its_extra_the_error_names_it(tmp_path: Path) -> None:
    """A test that asks for the emulator is not skipped without a word."""
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['duckdb'] = None\n")
    (tmp_path / "test_it.py").write_text("def test_it(spot_billing_emulator): pass\n")
    run = Run(tmp_path)
    assert run.done.returncode == 1
    assert "pip install 'spot-billing-async[emulator]'" in run.done.stdout


def test_the_installed_package_registers_it() -> None:
    """By entry point: a user writes no line for it. It is the file of this checkout."""
    (mine,) = entry_points(group="pytest11", name="spot_billing")
    assert mine.value == "spot_billing_pytest"
    source = Path(spot_billing_async.__file__).parent / "testing" / "pytest_plugin.py"
    installed = Path(mine.load().__file__)
    assert installed.read_bytes() == source.read_bytes(), "changed: pip install -e . copies it"


async def test_in_this_process(spot_billing_emulator: RunningEmulator) -> None:
    """What it is made of is typed, and leads to it."""
    async with SpotBillingClient(**spot_billing_emulator.client_arguments) as client:
        assert len(await client.accounts.list()) == len(spot_billing_emulator.account_ids) == 24


def test_without_pytest_it_is_a_context_manager() -> None:
    """For any other way to test; it counts the requests that come."""
    with running_emulator(token="mine") as server:
        assert server.token == "mine"
        assert server.emulator.requests == 0
