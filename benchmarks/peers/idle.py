"""An idle loop without a client: its lag is caused by the machine and the heartbeat."""

import asyncio

from benchmarks.harness.task import Measurement, Task
from benchmarks.harness.watch import Stopwatch

LIBRARIES = ()


async def run(task: Task) -> Measurement:
    """Wait for a tenth of a second per call."""
    with Stopwatch(task) as watch:
        await asyncio.sleep(task.calls / 10)
    return watch.measurement(0)
