"""`spot-billing costs pull` in a process of its own, ended by a signal at a random moment.

A Ctrl-C or SIGTERM is sent at a random time after the command begins; before that the interpreter
starts and the package is imported. The exit code must name the signal, the file must hold the rows
that were fetched, the report must add up, and nothing else may be left: no traceback, no partial
file.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.soak.cancellation import DAY
from tests.support_processes import CHECKOUT, TOKEN

LONGEST_S = 1.5
# A shell's background job ignores Ctrl-C, and so do its children: this restores the default.
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from spot_billing_async.cli import main; print(flush=True); main()"
)
ARGUMENTS = (
    *("costs", "pull", "--from", f"{DAY}", "--to", "2026-01-01", "--window", "day"),
    *("--account", "a1", "a2", "--out", "costs.csv", "--report", "report.json"),
)


def run_interrupted(base_url: str, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Run the command in a folder, and send it a signal.

    Returns:
        The exit code as a shell reports it, and a line for each rule that was broken.
    """
    random = Random(seed)  # noqa: S311  a seeded scenario, no secret
    signum = random.choice([signal.SIGINT, signal.SIGTERM])
    environment = os.environ | {"SPOTINST_BASE_URL": base_url, "SPOTINST_TOKEN": TOKEN}
    with subprocess.Popen(  # noqa: S603  this checkout's own code
        [sys.executable, "-W", "error", "-c", START, *ARGUMENTS],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        expected = {0, 3}
        try:
            process.wait(random.uniform(0, LONGEST_S))
        except subprocess.TimeoutExpired:
            process.send_signal(signum)
            expected = {128 + signum}
        _, stderr = process.communicate(timeout=60)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    problems = [] if code in expected else [f"code: {code} after {signum.name}"]
    problems += [f"traceback: {stderr}"] if "Traceback" in stderr else []
    return code, [*problems, *folder_problems(folder)]


def folder_problems(folder: Path) -> list[str]:
    """Return a line for each unexpected file, and for each disagreement of file and report."""
    names = {path.name for path in folder.iterdir()}
    problems = [f"file: {name}" for name in names - {"costs.csv", "report.json"}]
    costs, report_path = folder / "costs.csv", folder / "report.json"
    rows = costs.read_text().count("\n") - 1 if costs.exists() else 0
    if not report_path.exists():
        return problems + ([f"rows: {rows} without a report"] if rows else [])
    report = json.loads(report_path.read_text())
    states = ("ok", "empty", "failed", "cancelled", "not_started")
    if report["planned"] != sum(report[state] for state in states):
        problems.append(f"report: {report}")
    if report["rows"] != rows:
        problems.append(f"rows: {rows} in the file, {report['rows']} in the report")
    missing = report["planned"] - report["ok"] - report["empty"]
    if len(report["failures"]) != missing:
        problems.append(f"report: {len(report['failures'])} failures, {missing} missing slices")
    return problems
