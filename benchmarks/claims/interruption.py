"""The command line, ended by signals at random moments: `python -m benchmarks.claims.interruption`.

`spot-billing costs pull` runs in processes of its own. From the moment that the command begins
(what comes before is the interpreter's, and the import of the package) a Ctrl-C or SIGTERM is sent
after a random time. Its exit code has to say so, what came has to be in the file, the report has to
add up, and nothing else may be left: no traceback, no part of a file.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from benchmarks.claims.cancellation import DAY, server
from benchmarks.harness.opponent import TOKEN
from benchmarks.harness.quick import is_quick

RUNS, QUICK_RUNS = 60, 8
LONGEST_S = 1.5
# A shell's background job ignores Ctrl-C, and hands that on: here the terminal's is wanted.
BEGIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from spot_billing_async.cli import main; print(flush=True); main()"
)
WORDS = (
    *("costs", "pull", "--from", f"{DAY}", "--to", "2026-01-01", "--window", "day"),
    *("--account", "a1", "a2", "--out", "costs.csv", "--report", "report.json"),
)


def interrupted(base_url: str, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Run the command and end it; its exit code as a shell has it, and what was wrong."""
    chance = Random(seed)  # noqa: S311  a seeded trace, no secret
    signum = chance.choice([signal.SIGINT, signal.SIGTERM])
    environment = os.environ | {"SPOTINST_BASE_URL": base_url, "SPOTINST_TOKEN": TOKEN}
    with subprocess.Popen(  # noqa: S603  this checkout's own code
        [sys.executable, "-W", "error", "-c", BEGIN, *WORDS],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        expected = {0, 3}
        try:
            process.wait(chance.uniform(0, LONGEST_S))
        except subprocess.TimeoutExpired:
            process.send_signal(signum)
            expected = {128 + signum}
        _, complaints = process.communicate(timeout=60)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    wrong = [] if code in expected else [f"code: {code} after {signum.name}"]
    wrong += [f"traceback: {complaints}"] if "Traceback" in complaints else []
    return code, [*wrong, *left_wrong(folder)]


def left_wrong(folder: Path) -> list[str]:
    """What a command left in its folder that it should not have, or not so."""
    names = {path.name for path in folder.iterdir()}
    wrong = [f"file: {name}" for name in names - {"costs.csv", "report.json"}]
    costs, report = folder / "costs.csv", folder / "report.json"
    rows = costs.read_text().count("\n") - 1 if costs.exists() else 0
    told = json.loads(report.read_text()) if report.exists() else None
    if told is None:
        return wrong + ([f"rows: {rows} without a report"] if rows else [])
    states = ("ok", "empty", "failed", "cancelled", "not_started")
    if told["planned"] != sum(told[state] for state in states):
        wrong.append(f"report: {told}")
    if told["rows"] != rows:
        wrong.append(f"rows: {rows} in the file, {told['rows']} in the report")
    missing = told["planned"] - told["ok"] - told["empty"]
    if len(told["failures"]) != missing:
        wrong.append(f"report: {len(told['failures'])} are named, {missing} are missing")
    return wrong


def main() -> None:
    """Print how the commands ended and what was wrong, beside the bar of none; exit 1 if any."""
    runs = QUICK_RUNS if is_quick(__doc__) else RUNS
    codes: Counter[int] = Counter()
    reports, wrong = 0, []
    with server() as base_url:
        for seed in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                code, found = interrupted(base_url, seed, Path(folder))
                reports += (Path(folder) / "report.json").exists()
            codes[code] += 1
            wrong += [f"seed {seed}: {each}" for each in found]
    print(f"{runs} commands; codes: " + ", ".join(f"{c} {n}" for c, n in sorted(codes.items())))
    print(f"in {reports} of them a pull had begun")
    kinds = Counter(line.split(": ")[1] for line in wrong)
    print(f"{'wrong':12} {'runs':>6} {'bar':>6}")
    for kind in ("code", "traceback", "file", "rows", "report"):
        print(f"{kind:12} {kinds[kind]:>6} {0:>6}")
    print("\n".join(wrong[:20]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
