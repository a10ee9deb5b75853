"""The README and the guides: every block runs as printed.

The blocks of a document run in order, in one folder, against one emulator, so a block may use what
an earlier one wrote. `UPDATE_GUIDES=1 pytest tests/test_guides.py` writes the real output into the
console blocks.
"""

import asyncio
import configparser
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import pytest

from spot_billing_async import (
    SpotBillingClient,
)
from spot_billing_async.testing import RunningEmulator, running_emulator
from tests.support_guides import DOCUMENTS, GUIDES, README, ROOT, Block, blocks_of, commands

PRINTED_URL = "http://127.0.0.1:8080"

NOT_STARTED = {
    "pip install": "the extras are compared with pyproject.toml",
    "python3 -m venv": "the demo and the tests are run by .ci/run",
    "uvicorn": "it serves until it is stopped: see test_the_backend_serves_from_two_workers",
    "spot-billing emulator": "it serves until it is stopped: see test_every_emulator_starts",
    "python -m benchmarks": "it takes minutes: see test_every_benchmark_exists",
}
"""How a shell command begins that the runner leaves out, and why."""

NOT_RUN = {"spark.read": "Spark is not installed; `benchmarks.claims.readers` runs this block"}
"""What a Python block contains that is only compiled, and why."""


WRITTEN = {
    "README": {"costs.parquet", "costs"},
    "command-line": {"costs.parquet", "report.json"},
    "export": {"costs.parquet", "costs.csv"},
    "table": {"costs", "costs_ledger"},
}
"""Files and folders that the blocks of a document write."""


class Runner:
    """Runs the blocks of one document in a folder.

    Args:
        path: the document.
        folder: working directory of the blocks.
        api: emulator that the blocks use.
        warnings: value of PYTHONWARNINGS for subprocesses; "error" in CI.
    """

    def __init__(self, path: Path, folder: Path, api: RunningEmulator, warnings: str) -> None:
        self._path = path
        self._folder = folder
        self._api = api
        programs = folder / "bin"
        programs.mkdir()
        for name, module in {"python": "", "spot-billing": "-m spot_billing_async.cli"}.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
            program.chmod(0o755)
        self._environment = api.environment | {
            "HOME": str(folder),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": warnings,
        }

    def run(self, block: Block) -> None:
        """Run a block; what it raises names the block."""
        kinds: Mapping[str, Callable[[Block], object]] = {
            "python": self._run_python,
            "sh": self._run_sh,
            "console": self._run_console,
            "toml": lambda block: tomllib.loads(block.code),
            "json": lambda block: json.loads(block.code),
            "ini": lambda block: configparser.ConfigParser().read_string(block.code),
            "text": lambda block: block.code.encode("ascii"),  # a diagram, as any font shows it
        }
        try:
            kinds[block.kind](block)
        except Exception as error:
            error.add_note(f"in the block at {block.where}")
            raise

    def _run_python(self, block: Block) -> None:
        code = compile(block.code, block.where, "exec")
        if named := re.match(r"# (\w+\.py)\n", block.code):
            (self._folder / named[1]).write_text(block.code)
            if named[1].startswith("test_"):
                # Without -W error: pytest-asyncio warns where a project does not configure it.
                self._shell(f"PYTHONWARNINGS= python -m pytest -q -p no:cacheprovider {named[1]}")
        elif not any(part in block.code for part in NOT_RUN):
            exec(code, {"__name__": "__main__"})  # noqa: S102  the documents' own code

    def _run_sh(self, block: Block) -> None:
        lines = block.code.splitlines()
        script = "\n".join(line for line in lines if not line.startswith(tuple(NOT_STARTED)))
        if script:
            self._shell(script.replace(PRINTED_URL, self._api.base_url))

    def _run_console(self, block: Block) -> None:
        """Run each command; compare its output, without seconds, with the lines that follow."""
        seconds = re.compile(r"in [\d.]+ s$", re.MULTILINE)
        parts = re.split(r"^\$ (.*\n)", block.code, flags=re.MULTILINE)
        for command, printed in zip(parts[1::2], parts[2::2], strict=True):
            output = self._shell(command)
            if (
                seconds.sub("", output) != seconds.sub("", printed)
                and "UPDATE_GUIDES" in os.environ
            ):
                text = self._path.read_text("utf-8")
                self._path.write_text(text.replace(command + printed, command + output), "utf-8")
            else:
                assert seconds.sub("", output) == seconds.sub("", printed)

    def _shell(self, script: str) -> str:
        """Run a script; return its standard output."""
        done = subprocess.run(  # noqa: S603  the documents' own commands
            ["sh", "-ec", script],  # noqa: S607  the shell that a user pastes into
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def api() -> Iterator[RunningEmulator]:
    with running_emulator(token="test") as server:
        yield server


@pytest.fixture
def warnings_of_run(pytestconfig: pytest.Config) -> str:
    """Return the -W options of this run: in CI warnings are errors in subprocesses too."""
    return ",".join(pytestconfig.getoption("pythonwarnings") or ())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_block_runs(
    path: Path,
    api: RunningEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warnings_of_run: str,
) -> None:
    """Each block of a document runs as printed, after those before it."""
    monkeypatch.chdir(tmp_path)
    for name, value in api.environment.items():
        monkeypatch.setenv(name, value)
    runner = Runner(path, tmp_path, api, warnings_of_run)
    for block in blocks_of(path):
        runner.run(block)
    assert WRITTEN.get(path.stem, set()) <= {each.name for each in tmp_path.iterdir()}


@pytest.mark.parametrize("command", dict.fromkeys(commands("spot-billing emulator")))
def test_every_emulator_starts(command: str, tmp_path: Path) -> None:
    """Each printed emulator command prints an address, and ends on SIGTERM."""
    program = [sys.executable, "-m", "spot_billing_async.cli"]
    words = re.sub(r"--port \d+", "--port 0", command).removeprefix("spot-billing ")
    with subprocess.Popen(  # noqa: S603  the documents' own commands
        program + shlex.split(words), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        process.terminate()
    assert "http://127.0.0.1:" in first_line


def test_every_benchmark_exists() -> None:
    """Each printed benchmark is a module; the guide's table names every claim, and no other."""
    for command in commands("python -m benchmarks"):
        module = ROOT / command.split()[2].replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
    claims = GUIDES["benchmarks"].read_text("utf-8").split("## Other published claims")[1]
    described = set(re.findall(r"^\| `(\w+)`", claims, re.MULTILINE))
    files = {path.stem for path in (ROOT / "benchmarks" / "claims").glob("*.py")}
    assert described == files - {"__init__"}


def test_every_extra_exists() -> None:
    """Each printed install command names extras of pyproject.toml, and the README lists all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    text = "\n".join(path.read_text("utf-8") for path in DOCUMENTS)
    assert {name for names in re.findall(r"\.\[([\w,]+)\]", text) for name in names.split(",")} <= (
        extras
    )
    requirements = README.read_text("utf-8").split("## Requirements")[1].split("\n## ")[0]
    listed = re.findall(r"^\| (`.*?) \|", requirements, re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"`(\w+)`", cell)} == extras


def test_the_readme_is_short_and_in_order() -> None:
    """The README has at most 900 words of prose, and its sections in the agreed order."""
    text = README.read_text("utf-8")
    assert len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split()) <= 900
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Try it",
        "Use it from Python",
        "Use it from the command line",
        "Guides",
        "Requirements",
        "Licence",
        "Changelog",
    ]


def test_the_readme_has_one_line_for_the_demo_and_one_for_the_tests() -> None:
    """Both lines begin with a new environment, for a machine with Python and nothing else."""
    demo, tests = commands("python3 -m venv")
    assert demo.endswith("spot-billing demo")
    assert tests.endswith("pytest -q")


def test_the_first_example_is_ten_lines() -> None:
    """The README's Python has at most ten lines beside its imports; its pull is complete."""
    (block,) = (block for block in blocks_of(README) if block.kind == "python")
    lines = [line for line in block.code.splitlines() if line]
    assert len([line for line in lines if not line.startswith(("import", "from"))]) <= 10


def test_every_link_leads_to_a_file() -> None:
    """Links between documents resolve, and the README links to every guide."""
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"
    for path in GUIDES.values():
        assert path.relative_to(ROOT).as_posix() in README.read_text("utf-8")


def python_block(guide: str, first_line: str) -> str:
    (found,) = (b.code for b in blocks_of(GUIDES[guide]) if b.code.startswith(first_line))
    return found


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    """Write the app of the FastAPI guide as `backend.py`; return its folder."""
    (tmp_path / "backend.py").write_text(python_block("fastapi", "# backend.py"))
    return tmp_path


@contextmanager
def served(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve the backend by the command of the guide; yields its URL."""
    (command,) = commands("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [*shlex.split(command), "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(  # noqa: S603  the guide's own command
        [sys.executable, "-m", *words], cwd=folder, env=os.environ | environment
    )
    try:
        for _ in range(600):
            assert process.poll() is None
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


async def test_the_backend_serves_from_two_workers(
    backend: Path, api: RunningEmulator, warnings_of_run: str
) -> None:
    """The app is short, and under uvicorn it answers many callers with the API's data."""
    assert len((backend / "backend.py").read_text().splitlines()) < 60
    async with SpotBillingClient(**api.client_arguments) as client:
        account_id, day = api.account_ids[0], date(2024, 1, 31)
        expected = await client.costs.get(account_id, day, day, "service")
    days = {"from_date": "2024-01-31", "to_date": "2024-01-31"}
    environment = api.environment | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": warnings_of_run}
    with served(backend, environment) as url:
        async with aiohttp.ClientSession(url) as session:

            async def get(path: str, **query: str) -> bytes:
                async with session.get(path, params=query) as response:
                    assert response.status == 200
                    return await response.read()

            bodies = await asyncio.gather(*(get("/accounts") for _ in range(20)))
            listed = [msgspec.json.decode(body) for body in bodies]
            assert listed == [list(api.account_ids)] * 20
            costs = msgspec.json.decode(await get(f"/costs/{account_id}", **days))
            assert [Decimal(row["cost"]) for row in costs] == [item.cost for item in expected]
            streams = (get("/stream", **days, format=form) for form in ("ndjson", "sse"))
            lines, events = await asyncio.gather(*streams)
    report = msgspec.json.decode(lines.splitlines()[-1])
    assert (report["type"], report["complete"], report["planned"]) == ("report", True, 24)
    assert events.count(b"event: row\n") == report["rows"] > 0


def test_the_backend_does_not_start_without_a_token(backend: Path) -> None:
    """Without a token uvicorn exits, and the error says where a token may be set."""
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "backend:app", "--port", "0"],
        cwd=backend,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "SPOTINST_TOKEN" in done.stderr
