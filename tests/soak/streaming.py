"""Callers of a streaming backend, half of whom leave at random moments.

The backend (FastAPI under uvicorn), the API behind it, and the callers are processes of their own.
Each caller streams half a year of one account. Every other one leaves, after a time or a number of
bytes that its seed decides, some of them with a connection reset. Callers that stay must receive
the whole stream. When the last caller is gone, the backend must hold what it held before and
idle pooled connections only, and each request to the API that it aborted must have ended there.
"""

import asyncio
import os
import socket
import struct
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from random import Random
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from tests.soak.backend import Counts, State
from tests.support_processes import TOKEN, Child, child_process, uvicorn_process

ACCOUNTS = [f"{number * 11254002932 % 10**12:012d}" for number in range(1, 11)]
SETTLES_WITHIN_S = 10
LONGEST_STAY_S = 0.008  # per concurrent caller: about half the time to serve all of them
LONGEST_STAY_BYTES = 150_000  # less than the stream of any account
PIECE_BYTES = 4096
RESET = struct.pack("ii", 1, 0)


class Deployment(NamedTuple):
    """A backend and the API behind it, each in a process of its own."""

    base_url: str
    api: Child

    def state(self) -> State:
        """Return the resources of the backend's process."""
        with urllib.request.urlopen(f"{self.base_url}/state") as response:  # noqa: S310  loopback
            return msgspec.json.decode(response.read(), type=State)

    def counts(self) -> Counts:
        """Return the counters of the API."""
        return Counts(*msgspec.json.decode(self.api.query()))


@contextmanager
def deployment() -> Iterator[Deployment]:
    """Run both processes until the block ends."""
    with child_process([sys.executable, "-m", "tests.soak.backend"]) as api:
        environment = os.environ | {"SPOTINST_TOKEN": TOKEN, "SPOTINST_BASE_URL": api.first_line}
        with uvicorn_process("tests.soak.backend:app", environment) as base_url:
            yield Deployment(base_url, api)


class Stay(NamedTuple):
    """The moment at which a caller leaves: after a time, after a number of bytes, or never."""

    seconds: float | None = None
    size_bytes: float = inf


def random_stay(random: Random, callers: int) -> Stay:
    """Return a stay that ends while the caller waits for its turn, or while it is served."""
    if random.random() < 0.5:
        return Stay(seconds=random.uniform(0, callers * LONGEST_STAY_S))
    return Stay(size_bytes=random.uniform(0, LONGEST_STAY_BYTES))


async def stream_as_caller(port: int, random: Random, stay: Stay) -> str:
    """Stream the costs of an account, and return how that ended: `left`, or as `ending` says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = f"/costs?account_id={quote(random.choice(ACCOUNTS))}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    response = b""
    try:
        async with asyncio.timeout(stay.seconds):
            while piece := await reader.read(PIECE_BYTES):
                response += piece
                if len(response) > stay.size_bytes:
                    return "left"
            return ending(response)
    except TimeoutError:
        return "left"
    finally:
        if random.random() < 0.5:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def ending(response: bytes) -> str:
    """Return `complete` for a response that holds a whole stream, and else what is wrong."""
    head, _, body = response.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or not body.endswith(b"0\r\n\r\n"):
        return f"truncated: {head[:40]!r}"
    objects = [msgspec.json.decode(line) for line in body.split(b"\n") if line.startswith(b"{")]
    rows = sum(each["type"] == "row" for each in objects)
    report = objects[-1]
    whole = report["type"] == "report" and report["complete"] and report["rows"] == rows
    return "complete" if whole else f"incomplete: {report['type']}"


async def run_callers(base_url: str, callers: int, seed: int) -> Counter[str]:
    """Run all callers concurrently, every other of whom leaves, and count how they ended."""
    port = int(base_url.rpartition(":")[2])
    streams = []
    for i in range(callers):
        random = Random(seed * callers + i)  # noqa: S311  a seeded scenario, no secret
        stay = random_stay(random, callers) if i % 2 else Stay()
        streams.append(stream_as_caller(port, random, stay))
    return Counter(await asyncio.gather(*streams))


class Round(NamedTuple):
    """Results of one round of callers.

    Attributes:
        ends: how often callers ended in each way.
        state: resources of the backend afterwards.
        counts: counters of the API afterwards.
    """

    ends: Counter[str]
    state: State
    counts: Counts


def run_round(deployed: Deployment, callers: int, seed: int, before: State) -> Round:
    """Run callers, and return what is left once all has settled, or after 10 s."""
    ends = asyncio.run(run_callers(deployed.base_url, callers, seed))
    ends_s = time.monotonic() + SETTLES_WITHIN_S
    while True:
        state, counts = deployed.state(), deployed.counts()
        settled = state.tasks == before.tasks and not state.in_use and not counts.in_flight
        if settled or time.monotonic() > ends_s:
            return Round(ends, state, counts)
        time.sleep(0.1)


def run_rounds(callers: int, rounds: int) -> tuple[State, list[Round]]:
    """Return the backend's resources before any caller, and the results of each round."""
    with deployment() as deployed:
        before = deployed.state()
        return before, [run_round(deployed, callers, seed, before) for seed in range(rounds)]
