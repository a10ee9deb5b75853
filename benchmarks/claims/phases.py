"""Whether the phases of calls add up to their wall time.

Run: `python -m benchmarks.claims.phases [--quick]`.

The wall time is taken from outside, around each call, with another clock than the client's. The
calls meet latency, faults, retries, pages, a quota and a full house; some are cut short, some read
an item type that was never met before, and some are slices of a pull.

What is missing lies before the client's first look at its clock and after its last. A second round
of calls takes the processor's time there: what the wall clock shows beyond it, the machine took.
They are two rounds, as asking for the processor's time may itself take milliseconds.
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

from benchmarks.claims.cancellation import DAY, PATIENT, server
from benchmarks.harness.opponent import TOKEN
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, CostItem, SpotBillingClient, SpotBillingError
from spot_billing_async._core.http.call import call
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async.telemetry import CallEnded, Event

SEEDS, QUICK_SEEDS = range(1, 6), range(1, 2)
CALLS = 1000
SIDE_BY_SIDE = 24
BAR_S = 0.001


class Gap(NamedTuple):
    """How far a call's phases are from the time around it, and how the call ended."""

    off_s: float
    ended: CallEnded


class WallWatch:
    """Takes the time of calls from outside, and finds the event that tells of each."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self._ended: dict[asyncio.Task[Any] | None, CallEnded] = {}

    clock = staticmethod(time.monotonic)
    """The client's."""

    def hook(self, event: Event) -> None:
        """A call's event comes in the task that makes the call."""
        if isinstance(event, CallEnded):
            self._ended[_task()] = event

    async def around(self, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call, and book how far its phases are from its wall time."""
        began_s = time.perf_counter()
        try:
            await call()
        except SpotBillingError:
            pass
        finally:
            took_s = time.perf_counter() - began_s
            ended = self._ended.pop(_task())
            self.gaps.append(Gap(abs(took_s - ended.phases.total_s), ended))


class ProcessorWatch(WallWatch):
    """Takes the processor's time before the client's first look at the clock and after its last."""

    def __init__(self) -> None:
        super().__init__()
        self._looks: dict[asyncio.Task[Any] | None, tuple[float, float]] = {}

    def clock(self) -> float:
        """The client's, which takes note of who looks."""
        busy_s, task = time.thread_time(), _task()
        first_s, _ = self._looks.get(task, (busy_s, busy_s))
        self._looks[task] = first_s, busy_s
        return time.monotonic()

    async def around(self, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call, and book what was worked for it outside of its phases."""
        self._looks.pop(_task(), None)
        began_s = time.thread_time()
        try:
            await call()
        except SpotBillingError:
            pass
        finally:
            now_s = time.thread_time()
            first_s, last_s = self._looks.pop(_task())
            self.gaps.append(Gap(now_s - last_s + first_s - began_s, self._ended.pop(_task())))


def _task() -> asyncio.Task[Any] | None:
    """The task that runs; None in a callback of the loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def a_new_type() -> type:
    """A type of items that no call has met."""
    return msgspec.defstruct("Row", [("cost", Decimal), ("currency", str)])


async def calls(base_url: str, seed: int, watch: WallWatch) -> list[Gap]:
    """Make many calls side by side."""
    chance = Random(seed)  # noqa: S311  a seeded trace, no secret
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


def rounds(seeds: range, watch: type[WallWatch]) -> list[list[Gap]]:
    """A round of calls for each seed, each with an emulator of its own."""
    gaps = []
    for seed in seeds:
        with server() as base_url:
            gaps.append(asyncio.run(calls(base_url, seed, watch())))
    return gaps


def main() -> None:
    """Print a table: gap, median and worst over the seeds, and the bar; exit 1 if it is missed."""
    seeds = QUICK_SEEDS if is_quick(__doc__) else SEEDS
    gc.disable()  # it may run anywhere, also between two clocks
    by_wall, by_processor = rounds(seeds, WallWatch), rounds(seeds, ProcessorWatch)
    every = [gap for met in by_wall for gap in met]
    print(f"{len(every)} calls; ended with: ", end="")
    print(", ".join(f"{k} {n}" for k, n in Counter(gap.ended.error for gap in every).items()))
    for name in every[0].ended.phases.__struct_fields__:
        spent_s = sum(getattr(gap.ended.phases, name) for gap in every)
        print(f"  {name:14} {spent_s:8.1f} s in all")
    print(f"{'ms that the phases are off by':32} {'median':>10} {'worst':>10} {'bar':>8}")
    good = True
    for clock, rows in (("wall", by_wall), ("processor", by_processor)):
        ordered = [sorted(gap.off_s for gap in met) for met in rows]
        for name, place in {"typical call": 0.5, "99.9 % of calls": 0.999, "worst call": 1}.items():
            values = [met[round(place * (len(met) - 1))] for met in ordered]
            shown = f"{statistics.median(values) * 1e3:>10.4f} {max(values) * 1e3:>10.4f}"
            print(f"{clock + ', ' + name:32} {shown} {BAR_S * 1e3:>8g}")
        good = good and max(values) <= BAR_S
    sys.exit(not good)


if __name__ == "__main__":
    main()
