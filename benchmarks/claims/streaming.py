"""Streaming callers that leave at random moments.

Run: `python -m benchmarks.claims.streaming [--quick]`.

A backend of FastAPI under uvicorn, the API that it asks, and its callers are processes of their
own. Of a thousand callers at once, each of whom streams half a year of an account, half leave: as
their seeds have it after some time, or after some bytes, and some with a reset. Those who stay have
to get all of it. When the last is gone, the backend's process has to be as it was, but for its pool
of idle connections, and every request that it broke off has to have ended at the API. Memory is
compared from the second round on: in the first, allocators and pools grow to what such a crowd
needs.
"""

import asyncio
import os
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from random import Random
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from benchmarks.harness.backend import TOKEN, State, state_of, uvicorn
from benchmarks.harness.child import Child, serving_child
from benchmarks.harness.figures import Figure
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig

CALLERS, QUICK_CALLERS = 1000, 200
ROUNDS, QUICK_ROUNDS = 5, 3
ACCOUNTS = [f"{number * 11254002932 % 10**12:012d}" for number in range(1, 11)]
SETTLES_WITHIN_S = 10
LONGEST_STAY_S = 0.008  # for each caller that is there: half as long as it takes to serve them all
LONGEST_STAY_BYTES = 150_000  # less than all there is for any account
PIECE_BYTES = 4096
HALF = 0.5
GROWTH_MIB = 4.0
RESET = struct.pack("ii", 1, 0)


class Counts(NamedTuple):
    """What the API counted."""

    requests: int
    under_way: int
    abandoned: int


class Place(NamedTuple):
    """A backend and the API behind it, each in a process of its own."""

    base_url: str
    api: Child

    def state(self) -> State:
        """What the backend's process holds."""
        return state_of(self.base_url)

    def counts(self) -> Counts:
        """What the API counted so far."""
        process = self.api.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return Counts(*msgspec.json.decode(process.stdout.readline()))


@contextmanager
def place() -> Iterator[Place]:
    """Start them, and end them."""
    with serving_child([sys.executable, "-m", "benchmarks.harness.backend"]) as api:
        environment = os.environ | {"SPOTINST_TOKEN": TOKEN, "SPOTINST_BASE_URL": api.said}
        with uvicorn("benchmarks.harness.backend:app", environment) as base_url:
            yield Place(base_url, api)


class Stay(NamedTuple):
    """How long a caller stays: for some time, or until it got so much."""

    seconds: float | None = None
    size_bytes: float = inf


def stay_of(chance: Random, callers: int) -> Stay:
    """Until a random moment: while it waits for its turn, or in the midst of being served."""
    if chance.random() < HALF:
        return Stay(seconds=chance.uniform(0, callers * LONGEST_STAY_S))
    return Stay(size_bytes=chance.uniform(0, LONGEST_STAY_BYTES))


async def caller(port: int, chance: Random, stay: Stay) -> str:
    """Stream an account's costs, and say how that ended; it may be done before it leaves."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = f"/costs?account_id={quote(chance.choice(ACCOUNTS))}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    try:
        async with asyncio.timeout(stay.seconds):
            while piece := await reader.read(PIECE_BYTES):
                answer += piece
                if len(answer) > stay.size_bytes:
                    return "left"
            return ended(answer)
    except TimeoutError:
        return "left"
    finally:
        if chance.random() < HALF:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def ended(answer: bytes) -> str:
    """Whether an answer, read to its end, is a whole stream."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or not body.endswith(b"0\r\n\r\n"):
        return f"cut off: {head[:40]!r}"
    objects = [msgspec.json.decode(line) for line in body.split(b"\n") if line.startswith(b"{")]
    rows = sum(each["type"] == "row" for each in objects)
    report = objects[-1]
    whole = report["type"] == "report" and report["complete"] and report["rows"] == rows
    return "complete" if whole else f"incomplete: {report['type']}"


async def crowd(base_url: str, callers: int, seed: int) -> Counter[str]:
    """All callers at once, every other of whom leaves; how they ended."""
    port = int(base_url.rpartition(":")[2])
    every = []
    for i in range(callers):
        chance = Random(seed * callers + i)  # noqa: S311  a seeded trace, no secret
        every.append(caller(port, chance, stay_of(chance, callers) if i % 2 else Stay()))
    return Counter(await asyncio.gather(*every))


class Round(NamedTuple):
    """A crowd that came and went: how its callers ended, and what was left of it."""

    ends: Counter[str]
    state: State
    counts: Counts
    took_s: float


def round_of(at: Place, callers: int, seed: int, before: State) -> Round:
    """Send a crowd, and look at what is left once all is settled, or should be."""
    began_s = time.monotonic()
    ends = asyncio.run(crowd(at.base_url, callers, seed))
    took_s = time.monotonic() - began_s
    ends_s = time.monotonic() + SETTLES_WITHIN_S
    while True:
        state, counts = at.state(), at.counts()
        settled = state.tasks == before.tasks and not state.in_use and not counts.under_way
        if settled or time.monotonic() > ends_s:
            return Round(ends, state, counts, took_s)
        time.sleep(0.1)


def rounds_of(callers: int, rounds: int) -> tuple[State, list[Round]]:
    """The state before any caller came, and the rounds after it."""
    with place() as at:
        before = at.state()
        return before, [round_of(at, callers, seed, before) for seed in range(rounds)]


def figures(before: State, rounds: list[Round]) -> list[Figure]:
    """What was left over after the rounds, beside the bars."""
    stayed = sum(round_.ends.total() for round_ in rounds) // 2
    whole = sum(round_.ends["complete"] for round_ in rounds)
    left = sum(round_.ends["left"] for round_ in rounds)
    other = sum(round_.ends.total() for round_ in rounds) - whole - left
    after, second = rounds[-1], rounds[1]
    sockets = after.state.sockets - before.sockets
    pool = ClientConfig().max_concurrency
    return [
        Figure("callers that met anything but the whole, or left", other, 0),
        Figure("callers that stayed and got all of it", whole, stayed, at_least=True),
        Figure("callers that left in the midst of it", left, 1, at_least=True),
        Figure("tasks left", max(r.state.tasks for r in rounds) - before.tasks, 0),
        Figure("connections left in use", max(r.state.in_use for r in rounds), 0),
        Figure("sockets left, the pool's idle ones included", sockets, pool),
        Figure("requests that go on at the API", max(r.counts.under_way for r in rounds), 0),
        Figure("requests that the API saw broken off", after.counts.abandoned, 1, at_least=True),
        Figure(
            "MiB of memory gained since the second round",
            after.state.resident_mib - second.state.resident_mib,
            GROWTH_MIB,
        ),
    ]


def main() -> None:
    """Print each round, and what was left beside the bars; exit 1 where one is missed."""
    quick = is_quick(__doc__)
    callers = QUICK_CALLERS if quick else CALLERS
    before, rounds = rounds_of(callers, QUICK_ROUNDS if quick else ROUNDS)
    print(f"before: {before.tasks} tasks, {before.resident_mib:.1f} MiB")
    for round_ in rounds:
        ends = ", ".join(f"{count} {end}" for end, count in round_.ends.most_common())
        print(
            f"{callers} callers in {round_.took_s:.1f} s: {ends}; {round_.counts.abandoned} of "
            f"{round_.counts.requests} requests broken off; {round_.state.resident_mib:.1f} MiB"
        )
    met = figures(before, rounds)
    print("\n".join(figure.line() for figure in met))
    sys.exit(not all(figure.is_met for figure in met))


if __name__ == "__main__":
    main()
