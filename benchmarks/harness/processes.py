"""Processes of peers, which are measured one at a time in interleaved rounds.

A peer is measured by its own process; no other peer works meanwhile. Rounds are interleaved, so
that a change of the machine's speed affects all peers, and ratios are taken within a round.
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

from benchmarks.harness.serving import CHECKOUT, RunningServer
from benchmarks.harness.task import Measurement, Task

_ERROR_LINE = re.compile(r"[\w.]*(Error|Exception)(:|$)")
_FIRST_CALLS = 32
_MAX_CALLS = 50_000


class PeerError(Exception):
    """A peer cannot be measured; the message is the reason."""


@dataclass(frozen=True)
class Peer:
    """A peer and its interpreter.

    Attributes:
        name: its name in tables.
        module: its module in `benchmarks.peers`.
        python: path of an interpreter that has its libraries.
        path: folders of generated code that it imports.
        loop: `asyncio` or `uvloop`.
        concurrency: number of concurrent calls.
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
        peer: the peer.
        process: a process of `benchmarks.harness.worker`.
        errors: a file with its standard error.

    Attributes:
        versions: versions of the peer's libraries.

    Raises:
        PeerError: the process did not start.
    """

    def __init__(self, peer: Peer, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.peer = peer
        self._process = process
        self._errors = errors
        self.versions: dict[str, str] = json.loads(self._read_line())

    @property
    def pid(self) -> int:
        """Process id of the worker, or of the wrapper that runs it."""
        return self._process.pid

    def run(self, task: Task) -> Measurement:
        """Run a task in the process.

        Raises:
            PeerError: the peer failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(task.to_json() + "\n")
        self._process.stdin.flush()
        return Measurement.from_json(self._read_line())

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            cause = first_error(self._errors.read())
            raise PeerError(f"{self.peer.name}: {cause or 'its process printed no error'}")
        return line


def first_error(stderr: str) -> str:
    """Return the first error line of tracebacks, also inside exception groups; "" without one."""
    lines = [line.lstrip(" |+-") for line in stderr.splitlines()]
    return next((line for line in lines if _ERROR_LINE.match(line)), "")


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
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603  this checkout's own code
            command,
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": path, "NO_PROXY": "127.0.0.1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Worker(peer, process, errors)
        except BaseException:
            process.kill()  # it may be in the middle of a task
            raise
        assert process.stdin is not None
        process.stdin.close()


def run_once(peer: Peer, task: Task) -> Measurement:
    """Run a task in a process of its own, without effects of earlier tasks.

    Raises:
        PeerError: the peer failed.
    """
    with working(peer) as worker:
        return worker.run(task)


@dataclass
class Rounds:
    """Measurements of one peer.

    Attributes:
        peer: the peer.
        calls: calls in a round.
        versions: versions of the peer's libraries.
        measurements: one for each round.
        server_share: CPU of the server in each round, as a share of the time; 1 is a whole core.
    """

    peer: Peer
    calls: int
    versions: dict[str, str]
    measurements: list[Measurement] = field(default_factory=list)
    server_share: list[float] = field(default_factory=list)

    @property
    def cpu_us(self) -> list[float]:
        """CPU per call of each round, in microseconds."""
        return [each.cpu_s / self.calls * 1e6 for each in self.measurements]

    @property
    def rows_a_cpu_s(self) -> list[float]:
        """Rows per CPU second of each round."""
        return [each.rows / each.cpu_s for each in self.measurements]

    @property
    def calls_a_s(self) -> float:
        """Median of the calls per second of wall time."""
        return statistics.median(self.calls / each.wall_s for each in self.measurements)


def run_interleaved(
    peers: Sequence[Peer], server: RunningServer, rows: int, *, rounds: int, round_s: float
) -> tuple[list[Rounds], list[str]]:
    """Measure peers in interleaved rounds.

    Args:
        peers: the peers.
        server: their server.
        rows: rows of each response.
        rounds: number of rounds.
        round_s: approximate seconds of a peer in a round.

    Returns:
        The measurements of each peer, and for each peer that failed the reason.
    """
    results: dict[Worker, Rounds] = {}
    failures: list[str] = []
    with ExitStack() as stack:
        for peer in peers:
            try:
                worker = stack.enter_context(working(peer))
                calls = _calls_for(worker, server, round_s)
            except PeerError as error:
                failures.append(str(error))
            else:
                results[worker] = Rounds(peer, calls, worker.versions)
        for _ in range(rounds):
            for worker, peer_rounds in list(results.items()):
                try:
                    _measure_round(worker, peer_rounds, server, rows)
                except PeerError as error:
                    failures.append(str(error))
                    del results[worker]
    return list(results.values()), failures


def _measure_round(worker: Worker, rounds: Rounds, server: RunningServer, rows: int) -> None:
    """Measure one peer in one round.

    Raises:
        PeerError: the peer failed, or did not decode every row.
    """
    cpu_s = server.cpu_s()
    measurement = worker.run(Task(server.base_url, rounds.calls, rounds.peer.concurrency))
    rounds.server_share.append((server.cpu_s() - cpu_s) / measurement.wall_s)
    rounds.measurements.append(measurement)
    if measurement.rows != (expected := rows * rounds.calls):
        raise PeerError(f"{rounds.peer.name}: {measurement.rows} of {expected} rows were decoded")


def _calls_for(worker: Worker, server: RunningServer, round_s: float) -> int:
    """Return the number of calls that take `round_s`; finding it out also warms up the peer."""
    calls = _FIRST_CALLS
    while True:
        wall_s = worker.run(Task(server.base_url, calls, worker.peer.concurrency)).wall_s
        if wall_s >= round_s / 4 or calls >= _MAX_CALLS:
            return max(_FIRST_CALLS, min(_MAX_CALLS, round(calls * round_s / wall_s)))
        calls = min(_MAX_CALLS, calls * 4)
