"""Instruction counts of a worker process, by `perf stat` or by callgrind.

Identical code differs by some percent of CPU time from run to run on a shared machine;
its instructions differ by some per mille. Only instructions in user mode count.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.processes import Peer, PeerError, Worker, working
from benchmarks.harness.serving import CHECKOUT
from benchmarks.harness.task import Task

PERF, CALLGRIND = "perf stat", "callgrind"
PACKAGE = "spot_billing_async"
_COMMAND_TIMEOUT_S = 120.0
_COUNT = re.compile(r"^summary: (\d+)$", re.MULTILINE)


def available_counter() -> str | None:
    """Return the name of a counter that works on this machine; None where there is none.

    `perf` may be installed and still have no access to hardware counters, as in most virtual
    machines and containers, so it is tried.
    """
    if shutil.which("perf"):
        with tempfile.NamedTemporaryFile("r") as output:
            _run(*_perf(output.name), "true")
            if perf_count(output.read()) is not None:
                return PERF
    return CALLGRIND if shutil.which("valgrind") and shutil.which("vgdb") else None


@contextmanager
def package_environment(package_path: Path | None) -> Iterator[dict[str, str]]:
    """Yield environment variables under which workers import the package of another checkout.

    That checkout has a `benchmarks` package too. A folder with nothing but a link to its client
    package comes first on PYTHONPATH, so that the harness stays the one of this checkout.

    Args:
        package_path: the checkout; None for this one.

    Raises:
        PeerError: the checkout has no such package.
    """
    source = (package_path or CHECKOUT).resolve() / PACKAGE
    if not source.is_dir():
        raise PeerError(f"there is no package {PACKAGE} in {source.parent}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PACKAGE).symlink_to(source)
        yield {
            "PYTHONPATH": os.pathsep.join([folder, str(CHECKOUT)]),
            "PYTHONHASHSEED": "0",
            "PYTHONSAFEPATH": "1",  # else the working directory would come before PYTHONPATH
        }


def count_tasks(
    counter: str, module: str, warmup: Task, tasks: Sequence[Task], environment: Mapping[str, str]
) -> list[int]:
    """Return an instruction count for each task, all from processes of the same program.

    A count includes a fixed cost, for example of making a client. The difference of two counts of
    tasks that differ in their number of calls only does not.

    Args:
        counter: `PERF` or `CALLGRIND`.
        module: the peer's module in `benchmarks.peers`.
        warmup: a task that is not counted.
        tasks: the tasks to count.
        environment: variables for the worker.

    Raises:
        PeerError: the peer or the counter failed.
    """
    peer = Peer(module, module, sys.executable)
    if counter == CALLGRIND:
        return _count_by_callgrind(peer, warmup, tasks, environment)
    return [_count_by_perf(peer, warmup, task, environment) for task in tasks]


def _count_by_perf(peer: Peer, warmup: Task, task: Task, environment: Mapping[str, str]) -> int:
    """Return the instructions of a whole process that does the warm-up and one task."""
    with tempfile.NamedTemporaryFile("r") as output:
        with working(peer, _perf(output.name), environment, "--steady") as worker:
            worker.run(warmup)
            worker.run(task)
        count = perf_count(output.read())
    if count is None:
        raise PeerError("perf stat printed no count")
    return count


def _perf(output: str) -> tuple[str, ...]:
    return "perf", "stat", "-x", ",", "-e", "instructions:u", "-o", output


def perf_count(text: str) -> int | None:
    """Return the count in the output of `perf stat -x ,`; None where it says <not supported>."""
    lines = [line.split(",") for line in text.splitlines()]
    counts = [fields[0] for fields in lines if len(fields) > 2 and "instructions" in fields[2]]  # noqa: PLR2004  count, unit, event
    return int(counts[0]) if counts and counts[0].isdigit() else None


def _count_by_callgrind(
    peer: Peer, warmup: Task, tasks: Sequence[Task], environment: Mapping[str, str]
) -> list[int]:
    """Return the instructions of tasks that one process does one after the other.

    Start-up would take a minute under callgrind, so counting is switched on after it.
    """
    with tempfile.TemporaryDirectory() as folder:
        prefix = f"--vgdb-prefix={folder}/vgdb"
        valgrind = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", prefix]
        valgrind.append(f"--callgrind-out-file={folder}/counts")
        with working(peer, valgrind, environment, "--steady") as worker:
            worker.run(warmup)
            vgdb = ("vgdb", prefix, f"--pid={worker.pid}")
            _run(*vgdb, "instrumentation", "on")
            # Once more: valgrind translates the code anew for callgrind, and counts that too.
            worker.run(warmup)
            _run(*vgdb, "zero")
            return [_dumped(worker, task, vgdb, folder, i) for i, task in enumerate(tasks, 1)]


def _dumped(worker: Worker, task: Task, vgdb: Sequence[str], folder: str, number: int) -> int:
    worker.run(task)
    _run(*vgdb, "dump")  # writes the counts since the last one to a numbered file
    return int(_COUNT.findall(Path(f"{folder}/counts.{number}").read_text())[0])


def _run(*command: str) -> None:
    try:
        subprocess.run(  # noqa: S603  the machine's own programs
            command, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{command[0]} did not finish in {_COMMAND_TIMEOUT_S:.0f} s") from error
