"""Four processes and one quota: `python -m benchmarks.claims.shared_quota [--quick]`.

The emulator serves in a process of its own, with a quota of 100 requests in a sliding window of two
seconds. Four processes pull 2,000 slices in all, each by a client of its own: without a shared
quota, with one over Redis, and with a Redis that is killed in the middle and started again two
seconds later. Throughput is counted as a share of what the quota allows: its first window at once,
and each further request at the moment its place becomes free, (N / L - 1) windows for N requests at
a limit of L. It needs redis-server, and the extra `redis`.

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
from benchmarks.harness.opponent import TOKEN, opponent
from benchmarks.harness.quick import is_quick
from benchmarks.harness.redis_server import can_run, running_redis
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
    return Met(ends_s, report.requests, report.refusals, failed)


@contextmanager
def crew(
    base_url: str, slices: int, redis_url: str | None
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ready to pull their part, and told to begin."""
    part = str(slices // PROCESSES)
    words = [sys.executable, "-m", "benchmarks.claims.shared_quota", base_url, part]
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


class Outcome(NamedTuple):
    """What the processes came to together.

    Attributes:
        share: of what the quota allows.
        refused: refusals, as a share of the requests.
        requests: sent in all.
        failed: slices.
    """

    share: float
    refused: float
    requests: int
    failed: int


def measure(name: str, slices: int, *, shares: bool = True, kills: bool = False) -> Outcome:
    """Have the processes pull, and print a line of the table."""
    ideal_s = (slices / LIMIT - 1) * WINDOW_S
    with (
        opponent("--rate-limit", f"{LIMIT}/{WINDOW_S:g}s") as base_url,
        running_redis() as redis,
        crew(base_url, slices, redis.url if shares else None) as members,
    ):
        began_s = time.monotonic()
        if kills:
            time.sleep(ideal_s / 2)
            redis.stop()
            time.sleep(_DOWN_S)
            redis.start()
        told = [json.loads(member.stdout.readline()) for member in members if member.stdout]
    met = [Met(*words) for words in told]
    requests = sum(one.requests for one in met)
    outcome = Outcome(
        ideal_s / (max(one.ends_s for one in met) - began_s),
        sum(one.refusals for one in met) / requests,
        requests,
        sum(one.failed for one in met),
    )
    print(f"{name:>34} {{:>10.3f}} {{:>9.2%}} {{:>9}} {{:>7}}".format(*outcome), flush=True)
    return outcome


def main() -> None:
    """Print throughput and refusals, then what has a bar beside it; exit 1 if one is missed."""
    slices = SLICES // 4 if is_quick(__doc__) else SLICES
    if not can_run():
        sys.exit("redis-server is not installed")
    print(f"{'':>34} {'throughput':>10} {'refused':>9} {'requests':>9} {'failed':>7}")
    measure("each by itself", slices, shares=False)
    shared = measure("shared over Redis", slices)
    killed = measure("Redis killed, started again", slices, kills=True)
    figures = [
        Figure("throughput of those that share", shared.share, LEAST_SHARE, at_least=True),
        Figure("their refusals, as a share of requests", shared.refused, MOST_REFUSED),
        Figure("slices that failed", shared.failed, 0),
        Figure("slices that failed as Redis was killed", killed.failed, 0),
    ]
    print("\n".join(figure.line() for figure in figures))
    sys.exit(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    if len(sys.argv) > 2:  # noqa: PLR2004  one of the processes
        base_url, slices, redis_url = (*sys.argv[1:], None)[:3]
        print(json.dumps(asyncio.run(pull(str(base_url), int(slices or 0), redis_url))))
    else:
        main()
