"""Whether the phases of calls add up to their wall time: `python -m benchmarks.phases [--quick]`.

The wall time is taken from outside, around each call, with another clock than the client's. The
calls meet latency, faults, retries, pages, a quota and a full house; some are cut short, some read
an item type that was never met before, and some are slices of a pull.

What is missing lies before the client's first look at its clock and after its last. There the
processor's time is taken too: what the wall clock shows beyond it, other processes took.
"""

import asyncio
import gc
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import msgspec

from benchmarks.cancellation import DAY, PATIENT, server
from benchmarks.opponent import TOKEN
from spot_billing_async import ClientConfig, CostItem, SpotBillingClient, SpotBillingError
from spot_billing_async.calls import call
from spot_billing_async.operations import GET_COSTS
from spot_billing_async.telemetry import CallEnded, Event

SEEDS, QUICK_SEEDS = range(1, 6), range(1, 2)
CALLS = 1000
SIDE_BY_SIDE = 24
BAR_S = 0.001


class Gap(NamedTuple):
    """How far a call's phases are from the wall time around it, and how the call ended.

    Attributes:
        off_s: by the wall clock.
        busy_s: what this process worked of that.
        ended: the client's word.
    """

    off_s: float
    busy_s: float
    ended: CallEnded


class Looks:
    """The processor's time when a call first and last looked at the clock."""

    def __init__(self, busy_s: float) -> None:
        self.first_s = self.last_s = busy_s


class Stopwatch:
    """Takes the time of calls from outside, and finds the event that tells of each."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self._looks: dict[asyncio.Task[Any] | None, Looks] = {}
        self._ended: dict[asyncio.Task[Any] | None, CallEnded] = {}

    def clock(self) -> float:
        """The client's clock."""
        busy_s, task = time.thread_time(), _task()
        looks = self._looks.get(task)
        if looks is None:
            self._looks[task] = Looks(busy_s)
        else:
            looks.last_s = busy_s
        return time.monotonic()

    def hook(self, event: Event) -> None:
        """A call's event comes in the task that makes the call."""
        if isinstance(event, CallEnded):
            self._ended[_task()] = event

    async def around(self, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call, and book how far its phases are from its wall time."""
        self._looks.pop(_task(), None)
        began_s, busy_s = time.perf_counter(), time.thread_time()
        try:
            await call()
        except SpotBillingError:
            pass
        finally:
            now_s, busy_now_s = time.perf_counter(), time.thread_time()
            ended, looks = self._ended.pop(_task()), self._looks.pop(_task())
            missing_s = busy_now_s - looks.last_s + looks.first_s - busy_s
            self.gaps.append(Gap(abs(now_s - began_s - ended.phases.total_s), missing_s, ended))


def _task() -> asyncio.Task[Any] | None:
    """The task that runs; None in a callback of the loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def a_new_type() -> type:
    """A type of items that no call has met."""
    return msgspec.defstruct("Row", [("cost", Decimal), ("currency", str)])


async def calls(base_url: str, seed: int) -> list[Gap]:
    """Make many calls side by side."""
    chance, watch = Random(seed), Stopwatch()  # noqa: S311  a seeded trace, no secret
    left = iter(range(CALLS))
    config = ClientConfig(max_concurrency=SIDE_BY_SIDE // 2, retry=PATIENT)
    async with SpotBillingClient(
        TOKEN, base_url=base_url, config=config, hook=watch.hook
    ) as client:
        session = client._session  # noqa: SLF001  for its clock, and to call as a pull does
        session.clock = watch.clock

        async def slice_of_a_pull() -> object:
            query = {"accountId": "a1", "fromDate": str(DAY), "toDate": str(DAY)}
            ends_at_s = session.clock() + 10
            return await call(session, GET_COSTS, CostItem, query=query, pull_ends_at_s=ends_at_s)

        async def work() -> None:
            for i in left:
                item_type: Any = a_new_type() if i % 5 == 0 else CostItem
                limit_s = 10 ** chance.uniform(-3.5, -0.5) if i % 4 == 1 else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit_s):
                        await watch.around(
                            slice_of_a_pull
                            if i % 3 == 0
                            else lambda: client.costs.get("a1", DAY, DAY, item_type=item_type)  # noqa: B023  called at once
                        )

        async with asyncio.TaskGroup() as group:
            for _ in range(SIDE_BY_SIDE):
                group.create_task(work())
    return watch.gaps


def main() -> None:
    """Print a table: gap, median and worst over the seeds, and the bar; exit 1 if it is missed."""
    seeds = QUICK_SEEDS if "--quick" in sys.argv else SEEDS
    gaps: list[list[Gap]] = []
    gc.disable()  # it may run anywhere, also between two clocks
    for seed in seeds:
        with server() as base_url:
            gaps.append(asyncio.run(calls(base_url, seed)))
    every = [gap for met in gaps for gap in met]
    print(f"{len(every)} calls; ended with: ", end="")
    print(", ".join(f"{k} {n}" for k, n in Counter(gap.ended.error for gap in every).items()))
    for name in every[0].ended.phases.__struct_fields__:
        spent_s = sum(getattr(gap.ended.phases, name) for gap in every)
        print(f"  {name:14} {spent_s:8.1f} s in all")
    print(f"{'ms that the phases are off by':32} {'median':>10} {'worst':>10} {'bar':>8}")
    rows = {
        "typical call": [statistics.median(gap.off_s for gap in met) for met in gaps],
        "worst but one call in a hundred": [
            statistics.quantiles((gap.off_s for gap in met), n=100)[-1] for met in gaps
        ],
        "worst call, stalls included": [max(gap.off_s for gap in met) for met in gaps],
        "worst call, processor's time": [max(gap.busy_s for gap in met) for met in gaps],
    }
    for name, values in rows.items():
        shown = f"{statistics.median(values) * 1e3:>10.4f} {max(values) * 1e3:>10.4f}"
        print(f"{name:32} {shown} {BAR_S * 1e3:>8g}")
    del rows["worst call, stalls included"]  # the machine's; the processor's time is the client's
    sys.exit(any(max(values) > BAR_S for values in rows.values()))


if __name__ == "__main__":
    main()
