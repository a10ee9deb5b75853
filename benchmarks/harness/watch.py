"""What a job takes, as its own process sees it: CPU, time, memory, and the lag of its loop.

A peer begins to watch when its client stands: clients live long, and what making one costs (an SSL
context, say) is not what a call costs.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Self

from benchmarks.harness.lag import Heartbeat, percentile
from benchmarks.harness.task import Measured, Task


class DeadlineTimer:
    """A context manager around the job; afterwards it tells what the job took.

    Args:
        task: what is done.
    """

    def __init__(self, task: Task) -> None:
        self._heart = Heartbeat(task.beat_s)

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            forget_peak()
        self._beating = _in_a_loop(self._heart)
        self._beating.__enter__()
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._cpu_s = time.process_time() - self._cpu_s
        self._wall_s = time.perf_counter() - self._wall_s
        self._beating.__exit__(None, None, None)
        self._peak_mib = resident_mib("VmHWM")

    def measured(self, rows: int, **extra: float) -> Measured:
        """What it took to bring so many rows, and what else there is to say."""
        return Measured(
            rows=rows,
            cpu_s=self._cpu_s,
            wall_s=self._wall_s,
            peak_mib=self._peak_mib,
            lag_p99_ms=percentile(self._heart.lags_s, 0.99) * 1e3,
            lag_worst_ms=percentile(self._heart.lags_s, 1) * 1e3,
            extra=extra,
        )


def _in_a_loop(heart: Heartbeat) -> AbstractContextManager[object]:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return nullcontext()
    return heart


async def side_by_side(call: Callable[[int], Awaitable[int]], task: Task) -> Measured:
    """Make the calls of a task by a fixed crew; each gives the number of its rows."""
    left = iter(range(task.calls))
    rows = 0

    async def work() -> None:
        nonlocal rows
        for i in left:
            came = await call(i)  # first: the sum is another one by then
            rows += came

    with DeadlineTimer(task) as watch:
        await asyncio.gather(*(work() for _ in range(task.concurrency)))
    return watch.measured(rows)


def resident_mib(field: str = "VmRSS") -> float:
    """Memory of this process that is resident, in MiB; `VmHWM` is the most that ever was.

    Unlike the peak that `getrusage` gives, this does not count what its parent had.
    """
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{field}:")[1].split()[0]) / 1024


def forget_peak() -> None:
    """Begin the peak of this process's memory anew, where the kernel allows it."""
    descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    try:
        os.write(descriptor, b"5")
    finally:
        os.close(descriptor)
