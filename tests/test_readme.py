"""What the README shows is true."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread
import msgspec
import pytest

from spot_billing_async import SpotBillingClient
from spot_billing_async.emulator import Emulator
from spot_billing_async.testing import RunningEmulator
from tests.support_processes import uvicorn_process

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_first_section_holds_exactly_two_commands() -> None:
    """One line for the demo, one for the tests, for a machine with Python and nothing else."""
    first_section = README.split("\n## ")[0]
    commands = [code.strip() for _, code in FENCE.findall(first_section)]
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert commands[0].startswith("python3 -m venv")
    assert commands[0].endswith("spot-billing demo")
    assert "pytest" in commands[1]


async def test_the_library_example_runs() -> None:
    """As printed, in a process of its own, against the emulator: complete, with a total."""
    example = next(code for kind, code in FENCE.findall(README) if kind == "python")
    async with Emulator(token="t") as server:
        environment = os.environ | {
            "SPOTINST_BASE_URL": server.base_url,
            "SPOTINST_TOKEN": "t",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(  # noqa: S603  the README's own code
                [sys.executable, "-W", "error", "-c", example],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        )
    assert (done.returncode, done.stderr) == (0, "")
    *slices, last = done.stdout.splitlines()
    assert len(slices) == 24 * 3
    assert "'USD': Decimal(" in last
    assert last.endswith("complete")


def test_the_command_lines_run(tmp_path: Path) -> None:
    """Every command of the README's shell session ends well, against the emulator it starts."""
    blocks = [code for kind, code in FENCE.findall(README) if kind == "sh"]
    server = next(line for block in blocks for line in block.splitlines() if "emulator -" in line)
    session = next(block for block in blocks if block.startswith("export SPOTINST_BASE_URL"))
    program = f"{shlex.quote(sys.executable)} -m spot_billing_async.cli"
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONWARNINGS": "error",
    }
    with subprocess.Popen(  # noqa: S603  the README's own words
        shlex.split(server.replace("spot-billing", program).replace("8080", "0"), comments=True),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().split(" at ")[1].split(";")[0]
        script = session.replace("spot-billing", program).replace("http://127.0.0.1:8080", base_url)
        done = subprocess.run(  # noqa: S603  the README's own words
            ["sh", "-ec", script],  # noqa: S607  the shell that a user pastes into
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        process.terminate()
        process.stdout.read()
    assert (done.returncode, done.stderr.count("error")) == (0, 0), done.stderr
    assert {"costs.parquet", "report.json"} <= {path.name for path in tmp_path.iterdir()}
    assert '"planned": 288' in (tmp_path / "report.json").read_text()


async def test_what_a_table_prints_is_printed(tmp_path: Path) -> None:
    """The console session on tables, against the sample: every line but for the seconds it took."""
    session = next(code for kind, code in FENCE.findall(README) if kind == "console")
    told = [block.split("\n", 1) for block in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]]
    async with Emulator(token="t") as server:
        environment = {
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "SPOTINST_BASE_URL": server.base_url,
            "SPOTINST_TOKEN": "t",
        }
        for command, printed in told:
            words = shlex.split(command.removeprefix("spot-billing "))
            done = await anyio.run_process(
                [sys.executable, "-m", "spot_billing_async.cli", *words],
                cwd=tmp_path,
                env=environment,
            )
            seconds = re.compile(r"in [\d.]+ s$", re.MULTILINE)
            met = seconds.sub("", done.stdout.decode())
            assert not printed or met == seconds.sub("", printed)


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    """A folder with the README's FastAPI app as `backend.py`."""
    (tmp_path / "backend.py").write_text(block_with("app = FastAPI(lifespan="))
    return tmp_path


def block_with(text: str) -> str:
    """The block of Python that holds a text."""
    (block,) = (code for kind, code in FENCE.findall(README) if kind == "python" and text in code)
    return str(block)


async def test_the_backend_serves_from_two_workers(
    backend: Path, spot_billing_emulator: RunningEmulator
) -> None:
    """It is short; under uvicorn its answers are the API's, to many callers at once."""
    assert len((backend / "backend.py").read_text().splitlines()) < 60
    async with SpotBillingClient(**spot_billing_emulator.client_arguments) as client:
        account_id, day = spot_billing_emulator.account_ids[0], date(2024, 1, 31)
        expected = await client.costs.get(account_id, day, day, "service")
    days = {"from_date": "2024-01-31", "to_date": "2024-01-31"}
    environment = os.environ | spot_billing_emulator.environment | {"PYTHONWARNINGS": "error"}
    with uvicorn_process("backend:app", environment, "--workers", "2", cwd=backend) as url:
        async with aiohttp.ClientSession(url) as session:

            async def get(path: str, **query: str) -> bytes:
                async with session.get(path, params=query) as answer:
                    assert answer.status == 200
                    return await answer.read()

            bodies = await asyncio.gather(*(get("/accounts") for _ in range(20)))
            listed = [msgspec.json.decode(body) for body in bodies]
            assert listed == [list(spot_billing_emulator.account_ids)] * 20
            costs = msgspec.json.decode(await get(f"/costs/{account_id}", **days))
            assert [Decimal(row["cost"]) for row in costs] == [item.cost for item in expected]
            streams = (get("/stream", **days, format=form) for form in ("ndjson", "sse"))
            lines, events = await asyncio.gather(*streams)
    report = msgspec.json.decode(lines.splitlines()[-1])
    assert (report["type"], report["complete"], report["planned"]) == ("report", True, 24)
    assert events.count(b"event: row\n") == report["rows"] > 0


def test_the_backend_does_not_start_without_a_token(backend: Path) -> None:
    """It says what is missing, and ends."""
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "backend:app", "--port", "0"],
        cwd=backend,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "token: none found; allowed: the token argument, SPOTINST_TOKEN" in done.stderr


def test_the_test_of_the_backend_passes(backend: Path) -> None:
    """As printed, in a process of its own, by the fixture that the package brings."""
    (backend / "test_backend.py").write_text(block_with("def test_accounts"))
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(backend)],
        cwd=backend,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


def test_every_python_block_is_python() -> None:
    """No block that a reader would paste has a slip in it."""
    for kind, code in FENCE.findall(README):
        if kind == "python":
            compile(code, "README.md", "exec")
