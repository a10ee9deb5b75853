"""Description of the machine that a benchmark ran on, to print beside its figures."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness.serving import CHECKOUT, nginx
from benchmarks.harness.worker import versions

LOAD_NOTE = "a run alone makes a load of 1 to 2; with more, wall-clock figures are too high"
LIBRARIES = ("spot-billing-async", "aiohttp", "anyio", "msgspec", "pyarrow", "matplotlib")


def description() -> dict[str, str]:
    """Return date, commit, processor, cores, memory, load, kernel, Python, libraries and server."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "load": load(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": named(versions(LIBRARIES)),
        "server": _nginx_version() or "canned, as nginx is not installed",
    }


def load() -> str:
    """Return the load averages of the last 1, 5 and 15 minutes."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def named(versions: Mapping[str, str]) -> str:
    """Format names and versions as one line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _field(path: str, name: str) -> str | None:
    """Return the first value of a name in a table of the kernel; None where it is missing."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


def _commit() -> str:
    try:
        commit = _output("git", "rev-parse", "--short", "HEAD")
        changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with uncommitted changes" if changed else commit


def _nginx_version() -> str | None:
    program = nginx()
    return _output(program, "-v").removeprefix("nginx version: ") if program else None


def _output(*command: str) -> str:
    """Return the output of a program, standard or error, whichever it writes to."""
    done = subprocess.run(  # noqa: S603  the machine's own programs
        command, cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return (done.stdout or done.stderr).strip()
