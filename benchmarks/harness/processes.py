"""Processes of peers: started, asked one at a time, in turns, and ended.

A peer is measured in its own process by that process's own accounting; while it works, no other
does. Rounds are interleaved, so that what the machine does meanwhile meets them all, and ratios are
taken within a round.
"""

import json
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import IO

from benchmarks.harness.serving import CHECKOUT, Served
from benchmarks.harness.task import Measured, Task

_AN_ERROR = re.compile(r"[\w.]*(Error|Exception)(:|$)")
_FIRST_CALLS = 32
_MOST_CALLS = 50_000


class PeerError(Exception):
    """A peer cannot be measured; the message says why."""


@dataclass(frozen=True)
class Peer:
    """A peer that can be started.

    Attributes:
        name: how it is called in tables.
        module: its file in `benchmarks/peers`.
        python: the interpreter that has what it needs.
        path: folders of generated code that it imports.
        loop: "asyncio" or "uvloop".
        concurrency: how many calls it makes at once.
    """

    name: str
    module: str
    python: str
    path: tuple[str, ...] = ()
    loop: str = "asyncio"
    concurrency: int = 16


class Worker:
    """A peer's process.

    Args:
        peer: which.
        process: it runs `benchmarks.harness.worker`.
        complaints: what it writes to its standard error.

    Attributes:
        versions: of what the peer stands on.

    Raises:
        PeerError: it cannot start.
    """

    def __init__(self, peer: Peer, process: subprocess.Popen[str], complaints: IO[str]) -> None:
        self.peer = peer
        self._process = process
        self._complaints = complaints
        self.versions: dict[str, str] = json.loads(self._line())

    @property
    def pid(self) -> int:
        """Process id of the worker, or of the wrapper that runs it."""
        return self._process.pid

    def do(self, task: Task) -> Measured:
        """Have a task done.

        Raises:
            PeerError: the peer failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(task.text() + "\n")
        self._process.stdin.flush()
        return Measured.of(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._complaints.seek(0)
            cause = cause_in(self._complaints.read())
            raise PeerError(f"{self.peer.name}: {cause or 'its process ended'}")
        return line


def cause_in(complaints: str) -> str:
    """The error that tracebacks begin with, also those of groups; "" where there is none."""
    lines = [line.lstrip(" |+-") for line in complaints.splitlines()]
    return next((line for line in lines if _AN_ERROR.match(line)), "")


@contextmanager
def working(
    peer: Peer,
    wrapper: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    *options: str,
) -> Iterator[Worker]:
    """Run a peer's process until the block ends.

    Args:
        peer: the peer.
        wrapper: a command that runs the process as its child or in its place, such as a profiler.
        environment: variables beside those of this process.
        options: options of `benchmarks.harness.worker`.
    """
    command = [*wrapper, peer.python, "-m", "benchmarks.harness.worker", peer.module, *options]
    command += ["--uvloop"] if peer.loop == "uvloop" else []
    path = os.pathsep.join([str(CHECKOUT), *peer.path])
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(  # noqa: S603  this checkout's own code
            command,
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": path, "NO_PROXY": "127.0.0.1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        try:
            yield Worker(peer, process, complaints)
        except BaseException:
            process.kill()  # whatever it is doing, nobody waits for it
            raise
        assert process.stdin is not None
        process.stdin.close()


def once(peer: Peer, task: Task) -> Measured:
    """A task in a process of its own, so that nothing that came before counts.

    Raises:
        PeerError: the peer failed.
    """
    with working(peer) as worker:
        return worker.do(task)


@dataclass
class Rounds:
    """What a peer came to, round after round.

    Attributes:
        peer: which.
        calls: calls a round.
        measured: each round's.
        versions: of what the peer stands on.
        server_share: each round's CPU of the server, as a share of the time: 1 is a whole core.
    """

    peer: Peer
    calls: int
    versions: dict[str, str]
    measured: list[Measured] = field(default_factory=list)
    server_share: list[float] = field(default_factory=list)

    @property
    def cpu_us(self) -> list[float]:
        """CPU of a call, in microseconds."""
        return [each.cpu_s / self.calls * 1e6 for each in self.measured]

    @property
    def rows_a_cpu_s(self) -> list[float]:
        """Rows that a second of CPU brings."""
        return [each.rows / each.cpu_s for each in self.measured]

    @property
    def calls_a_s(self) -> float:
        """Median of calls a second on the clock."""
        return statistics.median(self.calls / each.wall_s for each in self.measured)


def in_turns(
    peers: Sequence[Peer], server: Served, rows: int, *, rounds: int, round_s: float
) -> tuple[list[Rounds], list[str]]:
    """Measure peers in interleaved rounds, each of which lasts so long.

    Returns:
        What each came to, and why others could not be measured.
    """
    met: dict[Worker, Rounds] = {}
    missing: list[str] = []
    with ExitStack() as stack:
        for peer in peers:
            try:
                worker = stack.enter_context(working(peer))
                calls = _calls_for(worker, server, round_s)
            except PeerError as error:
                missing.append(str(error))
            else:
                met[worker] = Rounds(peer, calls, worker.versions)
        for _ in range(rounds):
            for worker, books in list(met.items()):
                try:
                    _measure_round(worker, books, server, rows)
                except PeerError as error:
                    missing.append(str(error))
                    del met[worker]
    return list(met.values()), missing


def _measure_round(worker: Worker, books: Rounds, server: Served, rows: int) -> None:
    """Measure a peer for a round.

    Raises:
        PeerError: it failed, or it gave other rows than there are.
    """
    cpu_s = server.cpu_s()
    measured = worker.do(Task(server.base_url, books.calls, books.peer.concurrency))
    books.server_share.append((server.cpu_s() - cpu_s) / measured.wall_s)
    books.measured.append(measured)
    if measured.rows != rows * books.calls:
        raise PeerError(f"{books.peer.name}: {measured.rows} rows of {rows * books.calls} came")


def _calls_for(worker: Worker, server: Served, round_s: float) -> int:
    """How many calls last so long; trying that out warms the peer up."""
    calls = _FIRST_CALLS
    while True:
        wall_s = worker.do(Task(server.base_url, calls, worker.peer.concurrency)).wall_s
        if wall_s >= round_s / 4 or calls >= _MOST_CALLS:
            return max(_FIRST_CALLS, min(_MOST_CALLS, round(calls * round_s / wall_s)))
        calls = min(_MOST_CALLS, calls * 4)
