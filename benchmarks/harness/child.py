"""A server of a benchmark's own as a process of its own, so that its CPU and memory are its own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Child(NamedTuple):
    """A process that serves until its standard input ends, and what it said first."""

    process: subprocess.Popen[str]
    said: str


@contextmanager
def serving_child(command: list[str]) -> Iterator[Child]:
    """Run a command that prints a line once it serves."""
    with subprocess.Popen(  # noqa: S603  this checkout's own code
        command,
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Child(process, process.stdout.readline().strip())
        process.communicate()
