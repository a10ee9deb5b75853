"""CPU, time, memory and loop lag of a task, measured by its own process.

A peer starts the measurement when its client exists: clients live long, and the cost of making one
(an SSL context, for example) is not the cost of a call.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Self

from benchmarks.harness.lag import Heartbeat, percentile
from benchmarks.harness.task import Measurement, Task


class Stopwatch:
    """A context manager around the work of a task, which then returns its measurement.

    Args:
        task: the task.
    """

    def __init__(self, task: Task) -> None:
        self._heart = Heartbeat(task.beat_s)

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            reset_peak()
        self._beating = self._heart if _in_event_loop() else nullcontext()
        self._beating.__enter__()
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._cpu_s = time.process_time() - self._cpu_s
        self._wall_s = time.perf_counter() - self._wall_s
        self._beating.__exit__(None, None, None)
        self._peak_mib = resident_mib("VmHWM")

    def measurement(self, rows: int, **extra: float) -> Measurement:
        """Return the measurement, with the number of rows and further values."""
        return Measurement(
            rows=rows,
            cpu_s=self._cpu_s,
            wall_s=self._wall_s,
            peak_mib=self._peak_mib,
            lag_p99_ms=percentile(self._heart.lags_s, 0.99) * 1e3,
            lag_worst_ms=percentile(self._heart.lags_s, 1) * 1e3,
            extra=extra,
        )


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def run_calls(call: Callable[[int], Awaitable[int]], task: Task) -> Measurement:
    """Make the calls of a task by a fixed number of workers; each call returns its row count."""
    pending = iter(range(task.calls))
    rows = 0

    async def work() -> None:
        nonlocal rows
        for i in pending:
            count = await call(i)  # before the addition: other workers change the sum meanwhile
            rows += count

    with Stopwatch(task) as watch:
        await asyncio.gather(*(work() for _ in range(task.concurrency)))
    return watch.measurement(rows)


def resident_mib(field: str = "VmRSS") -> float:
    """Return the resident memory of this process in MiB.

    Args:
        field: `VmRSS` for the memory now, `VmHWM` for the peak. Unlike the peak that `getrusage`
            returns, that of `VmHWM` does not include the parent process.
    """
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{field}:")[1].split()[0]) / 1024


def reset_peak() -> None:
    """Reset the peak of this process's memory.

    Raises:
        OSError: the kernel does not allow it.
    """
    descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    try:
        os.write(descriptor, b"5")
    finally:
        os.close(descriptor)
