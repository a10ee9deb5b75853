"""Four processes that share a quota: `python -m benchmarks.claims.shared_quota [--quick]`.

The emulator serves in a process of its own, with a quota of 100 requests in a sliding window of two
seconds. Four processes pull 2,000 slices in total, each by its own client: without a shared quota,
with one over Redis, and with a Redis that is killed half-way and started again two seconds later.
Throughput is a share of the quota's maximum: the requests of the first window at once, and each
further one at the moment its place becomes free, (N / L - 1) windows for N requests at a limit of
L. It needs redis-server and the extra `redis`.

`python -m benchmarks.claims.shared_quota BASE_URL SLICES [REDIS_URL]` is one of these processes.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import NamedTuple

from benchmarks.harness.figures import Figure
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, CostPlan, Failed, SpotBillingClient
from spot_billing_async.redis import RedisQuota
from tests.support_processes import TOKEN, emulator_process
from tests.support_redis import has_redis, running_redis

LIMIT = 100
WINDOW_S = 2.0
PROCESSES = 4
SLICES = 2000
MIN_SHARE = 0.9
MAX_REJECTED = 0.01
_DOWN_S = 2.0


class PullResult(NamedTuple):
    """Result of the pull of one process.

    Attributes:
        ends_s: time of its end on the machine's monotonic clock.
        requests: requests sent.
        rejections: responses with status 429.
        failed: slices that failed.
    """

    ends_s: float
    requests: int
    rejections: int
    failed: int


async def pull(base_url: str, slices: int, redis_url: str | None) -> PullResult:
    """Pull a number of slices; starts when a line arrives on standard input."""
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
    return PullResult(ends_s, report.requests, report.refusals, failed)


@contextmanager
def running_processes(
    base_url: str, slices: int, redis_url: str | None
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the processes, and let all of them start to pull at the same time."""
    part = str(slices // PROCESSES)
    command = [sys.executable, "-m", "benchmarks.claims.shared_quota", base_url, part]
    command += [] if redis_url is None else [redis_url]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  this module
        for _ in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.communicate()


class Outcome(NamedTuple):
    """Result of all processes together.

    Attributes:
        share: throughput as a share of the quota's maximum.
        rejected: rejections as a share of the requests.
        requests: requests sent.
        failed: slices that failed.
    """

    share: float
    rejected: float
    requests: int
    failed: int


def measure(name: str, slices: int, *, shares: bool = True, kills: bool = False) -> Outcome:
    """Run the processes, and print a line of the table.

    Args:
        name: title of the line.
        slices: slices of all processes.
        shares: True to share the quota over Redis.
        kills: True to kill Redis half-way, and start it again.
    """
    ideal_s = (slices / LIMIT - 1) * WINDOW_S
    with (
        emulator_process("--rate-limit", f"{LIMIT}/{WINDOW_S:g}s") as base_url,
        running_redis() as redis,
        running_processes(base_url, slices, redis.url if shares else None) as processes,
    ):
        began_s = time.monotonic()
        if kills:
            time.sleep(ideal_s / 2)
            redis.stop()
            time.sleep(_DOWN_S)
            redis.start()
        lines = [json.loads(process.stdout.readline()) for process in processes if process.stdout]
    results = [PullResult(*values) for values in lines]
    requests = sum(one.requests for one in results)
    outcome = Outcome(
        ideal_s / (max(one.ends_s for one in results) - began_s),
        sum(one.rejections for one in results) / requests,
        requests,
        sum(one.failed for one in results),
    )
    print(f"{name:>34} {{:>10.3f}} {{:>9.2%}} {{:>9}} {{:>7}}".format(*outcome), flush=True)
    return outcome


def main() -> None:
    """Print throughput and rejections, and figures beside bars; exit 1 where one is missed."""
    slices = SLICES // 4 if is_quick(__doc__) else SLICES
    if not has_redis():
        sys.exit("skipped: redis-server is not installed")
    print(f"{'':>34} {'throughput':>10} {'rejected':>9} {'requests':>9} {'failed':>7}")
    measure("without a shared quota", slices, shares=False)
    shared = measure("shared over Redis", slices)
    killed = measure("Redis killed, started again", slices, kills=True)
    figures = [
        Figure("throughput with a shared quota", shared.share, MIN_SHARE, at_least=True),
        Figure("rejections with a shared quota, share of requests", shared.rejected, MAX_REJECTED),
        Figure("failed slices with a shared quota", shared.failed, 0),
        Figure("failed slices while Redis was killed", killed.failed, 0),
    ]
    print("\n".join(figure.line() for figure in figures))
    sys.exit(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    if len(sys.argv) > 2:  # noqa: PLR2004  one of the processes
        base_url, slices, redis_url = (*sys.argv[1:], None)[:3]
        print(json.dumps(asyncio.run(pull(str(base_url), int(slices or 0), redis_url))))
    else:
        main()
