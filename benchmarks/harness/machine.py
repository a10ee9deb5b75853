"""On what a benchmark ran: figures without that are hearsay."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness.serving import CHECKOUT, nginx
from benchmarks.harness.worker import versions

LOAD_MEANS = "a run by itself makes 1 to 2; beyond that figures on the clock are worse than need be"
LIBRARIES = ("spot-billing-async", "aiohttp", "anyio", "msgspec", "pyarrow", "matplotlib")


def described() -> dict[str, str]:
    """Date, commit, processor, cores, memory, kernel, Python and libraries."""
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
        "server": _nginx_version() or "canned, as there is no nginx",
    }


def load() -> str:
    """Processes that wanted a core, on average: of the last 1, 5 and 15 minutes."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def named(versions: Mapping[str, str]) -> str:
    """Names and versions in a line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _field(path: str, name: str) -> str | None:
    """The first value of a name in one of the kernel's tables; None where there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


def _commit() -> str:
    try:
        commit = _said("git", "rev-parse", "--short", "HEAD")
        changed = _said("git", "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}, and changes that are not committed" if changed else commit


def _nginx_version() -> str | None:
    program = nginx()
    return _said(program, "-v").removeprefix("nginx version: ") if program else None


def _said(*command: str) -> str:
    """What a program says, on either of its outputs."""
    done = subprocess.run(  # noqa: S603  the machine's own programs
        command, cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return (done.stdout or done.stderr).strip()
