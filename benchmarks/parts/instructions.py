"""Instructions per call of the client and of the floor of its stack.

`python -m benchmarks.parts.instructions --package-path DIR` measures the client package of another
checkout by the harness of this one, so that two versions can be compared. A value is the difference
between a run of many calls and a run of few, divided by the difference of their numbers: what a
process does at its start, and what it does to make a client, cancels out.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness.figures import short
from benchmarks.harness.instructions import (
    CALLGRIND,
    PACKAGE,
    available_counter,
    count_tasks,
    package_environment,
)
from benchmarks.harness.processes import PeerError
from benchmarks.harness.serving import CHECKOUT, serving
from benchmarks.harness.task import Task
from benchmarks.parts.part import print_table
from benchmarks.peers.registry import BARE, GET, PULL

ROWS, CALLERS = (10, 1000), (16, 32)
PEERS = {BARE: "bare", GET: "this_get", PULL: "this_pull"}
REPEATS = 2
NO_COUNTER = "instructions were not counted: neither perf stat nor valgrind works on this machine"

_BEAT_S = 3600.0
"""A heartbeat is timed by the clock, so its instructions would depend on the machine's speed."""


class Setting(NamedTuple):
    """A page size and a number of concurrent calls."""

    rows: int
    callers: int


class PerCall(NamedTuple):
    """Instructions per call in one setting.

    Attributes:
        value: the instructions, from the smallest counts of the repeats.
        spread: difference of the largest and the smallest of the repeats, as a share of the value.
    """

    value: float
    spread: float


Counts = dict[str, dict[Setting, PerCall]]
"""Instructions per call by peer and setting."""


def count(
    counter: str,
    rows: Sequence[int] = ROWS,
    callers: Sequence[int] = CALLERS,
    package_path: Path | None = None,
    repeats: int = REPEATS,
    *,
    echo: bool = False,
) -> Counts:
    """Count the instructions per call of each peer in each setting.

    Peers run at the same time, one per core: a busy machine does not change instruction counts.

    Raises:
        PeerError: a peer or the counter failed.
    """
    settings = [Setting(each, n) for each in rows for n in callers]
    with ExitStack() as stack:
        environment = stack.enter_context(package_environment(package_path))
        servers = {each: stack.enter_context(serving(each, echo=echo)).base_url for each in rows}
        threads = stack.enter_context(ThreadPoolExecutor(len(os.sched_getaffinity(0))))
        found = threads.map(
            lambda module: _count_peer(counter, module, settings, servers, environment, repeats),
            PEERS.values(),
        )
        return dict(zip(PEERS, found, strict=True))


def _count_peer(
    counter: str,
    module: str,
    settings: Sequence[Setting],
    servers: Mapping[int, str],
    environment: Mapping[str, str],
    repeats: int,
) -> dict[Setting, PerCall]:
    calls = {setting: _few_and_many(counter, setting) for setting in settings}
    tasks = [
        Task(servers[setting.rows], n, setting.callers, beat_s=_BEAT_S)
        for setting in settings
        # The first task of each setting is not used: it warms up the code of that setting.
        for n in (calls[setting][0], *calls[setting] * repeats)
    ]
    warmup = Task(servers[settings[0].rows], 32, beat_s=_BEAT_S)
    counts = iter(count_tasks(counter, module, warmup, tasks, environment))
    return {setting: per_call(counts, *calls[setting], repeats) for setting in settings}


def _few_and_many(counter: str, setting: Setting) -> tuple[int, int]:
    """Return both numbers of calls; fewer for callgrind, under which a call is 50 times slower."""
    # A client spaces out its first 250 calls. With large pages that is not a percent of a call.
    few, many = (320, 576) if setting.rows < max(ROWS) else (32, 64)
    return (few, many) if counter == CALLGRIND else (few * 10, many * 10)


def per_call(counts: Iterator[int], few: int, many: int, repeats: int) -> PerCall:
    """Return instructions per call from one count that is skipped, and pairs of few and many calls.

    The smallest counts are compared: responses that arrive one by one, from a server that has to
    wait for a core, only add to a count.
    """
    next(counts)
    pairs = [(next(counts), next(counts)) for _ in range(repeats)]
    values = [(of_many - of_few) / (many - few) for of_few, of_many in pairs]
    least_of_few, least_of_many = map(min, zip(*pairs, strict=True))
    value = (least_of_many - least_of_few) / (many - few)
    return PerCall(value, (max(values) - min(values)) / value)


def print_counts(counts: Counts) -> None:
    """Print a table: instructions, the spread of the repeats, and shares of the floor."""
    lines = [
        (
            name,
            short(setting.rows),
            str(setting.callers),
            short(by_setting[setting].value),
            f"{by_setting[setting].spread:.2%}",
            f"{by_setting[setting].value / counts[BARE][setting].value:.3f}",
        )
        for setting in counts[BARE]
        for name, by_setting in counts.items()
    ]
    print_table(("", "rows", "callers", "instructions per call", "spread", "of bare"), lines)


def main() -> None:
    """Count and print a table; exit 1 with the reason where that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts.instructions",
        description="Count instructions per call, by perf stat where it works, else by callgrind.",
    )
    parser.add_argument(
        "--package-path", type=Path, metavar="DIR", help=f"checkout whose {PACKAGE} is measured"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="rows per page")
    parser.add_argument("--callers", type=int, nargs="+", default=CALLERS, help="concurrent calls")
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help="more for a difference below some percent"
    )
    parser.add_argument(
        "--echo", action="store_true", help="repeat the URL of the request in each response"
    )
    options = parser.parse_args()
    counter = available_counter()
    if counter is None:
        sys.exit(NO_COUNTER)
    print(f"{PACKAGE} of {(options.package_path or CHECKOUT).resolve()}, by {counter}")
    try:
        counts = count(
            counter,
            options.rows,
            options.callers,
            options.package_path,
            options.repeats,
            echo=options.echo,
        )
        print_counts(counts)
    except PeerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
