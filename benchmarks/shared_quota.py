"""Four processes and one quota: `python -m benchmarks.shared_quota [--quick]`.

The emulator serves in a process of its own, with a quota of 100 requests in a sliding window of two
seconds. Four processes pull 2,000 slices in all, each by a client of its own: without a shared
quota, with one over Redis, and with a Redis that is killed in the middle and started again two
seconds later. Throughput is counted as a share of what the quota allows: its first window at once,
and each further request at the moment its place becomes free, (N / L - 1) windows for N requests at
a limit of L. It needs redis-server, and the extra `redis`.

`python -m benchmarks.shared_quota BASE_URL SLICES [REDIS_URL]` is one of these processes.
"""

import asyncio
import contextlib
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import NamedTuple

from benchmarks.opponent import TOKEN, opponent
from benchmarks.quick import is_quick
from spot_billing_async import ClientConfig, CostPlan, Failed, SpotBillingClient
from spot_billing_async.redis import RedisQuota

LIMIT = 100
WINDOW_S = 2.0
PROCESSES = 4
SLICES = 2000
LEAST_SHARE = 0.9
MOST_REFUSED = 0.01
_DOWN_S = 2.0


class Met(NamedTuple):
    """What came of a pull, or of several.

    Attributes:
        ends_s: of the machine's clock.
    """

    ends_s: float
    requests: int
    refusals: int
    failed: int


async def pull(base_url: str, slices: int, redis_url: str | None) -> Met:
    """Pull so many slices; starts when standard input says so."""
    first = date(2024, 1, 1)
    plan = CostPlan.build(["a1"], first, first + timedelta(days=slices - 1), window="day")
    config = ClientConfig(max_concurrency=64)
    quota = None if redis_url is None else RedisQuota(redis_url)
    failed = 0
    async with SpotBillingClient(TOKEN, base_url=base_url, config=config, quota=quota) as client:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async with client.costs.pull(plan) as run:
            async for outcome in run:
                failed += isinstance(outcome, Failed)
        ends_s = time.monotonic()
    report = run.report
    assert report.planned == report.ok + report.empty + report.failed, report
    return Met(ends_s, report.requests, report.requests - report.planned, failed)


def free_port() -> int:
    """A free port below those that the system gives to outgoing connections.

    One of these would take the port while the server that is to have it again is down.
    """
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311  no secret
        with contextlib.suppress(OSError), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """A redis-server that keeps nothing on disk."""

    def __init__(self, program: str, folder: str) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        words = f"--bind 127.0.0.1 --port {port} --dir {folder} --appendonly no"
        self._command = [program, *words.split(), "--save", ""]
        self.start()

    def start(self) -> None:
        """Run it."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603  the machine's own

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(program, folder)
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def crew(
    base_url: str, slices: int, redis_url: str | None
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ready to pull their part, and told to begin."""
    part = str(slices // PROCESSES)
    words = [sys.executable, "-m", "benchmarks.shared_quota", base_url, part]
    words += [] if redis_url is None else [redis_url]
    members = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  this module
        for _ in range(PROCESSES)
    ]
    try:
        for member in members:
            assert member.stdout is not None
            assert member.stdout.readline() == "ready\n"
        for member in members:
            assert member.stdin is not None
            member.stdin.write("go\n")
            member.stdin.flush()
        yield members
    finally:
        for member in members:
            member.communicate()


def measure(name: str, slices: int, *, shares: bool = True, kills: bool = False) -> str:
    """A line of the table."""
    ideal_s = (slices / LIMIT - 1) * WINDOW_S
    with (
        opponent("--rate-limit", f"{LIMIT}/{WINDOW_S:g}s") as base_url,
        redis_server() as redis,
        crew(base_url, slices, redis.url if shares else None) as members,
    ):
        began_s = time.monotonic()
        if kills:
            time.sleep(ideal_s / 2)
            redis.kill()
            time.sleep(_DOWN_S)
            redis.start()
        told = [json.loads(member.stdout.readline()) for member in members if member.stdout]
    met = [Met(*words) for words in told]
    share = ideal_s / (max(one.ends_s for one in met) - began_s)
    requests = sum(one.requests for one in met)
    refused = sum(one.refusals for one in met) / requests
    failed = sum(one.failed for one in met)
    return f"{name:>34} {share:>10.3f} {refused:>9.2%} {requests:>9} {failed:>7}"


def main() -> None:
    """Print a table of throughput, as a share of the quota, and refusals."""
    slices = SLICES // 4 if is_quick(__doc__) else SLICES
    print(f"{'':>34} {'throughput':>10} {'refused':>9} {'requests':>9} {'failed':>7}")
    print(measure("each by itself", slices, shares=False), flush=True)
    print(measure("shared over Redis", slices), flush=True)
    print(measure("Redis killed, started again", slices, kills=True), flush=True)
    print(f"{'bar':>34} {LEAST_SHARE:>10.3f} {MOST_REFUSED:>9.2%} {'':>9} {0:>7}")


if __name__ == "__main__":
    if len(sys.argv) > 2:  # noqa: PLR2004  one of the processes
        base_url, slices, redis_url = (*sys.argv[1:], None)[:3]
        print(json.dumps(asyncio.run(pull(str(base_url), int(slices or 0), redis_url))))
    else:
        main()
