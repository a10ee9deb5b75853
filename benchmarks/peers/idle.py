"""No client at all: an idle loop, whose lag is what the machine and the heartbeat itself cause."""

import asyncio

from benchmarks.harness.task import Measured, Task
from benchmarks.harness.watch import DeadlineTimer

STANDS_ON = ()


async def run(task: Task) -> Measured:
    """Wait, as many tenths of a second as calls."""
    with DeadlineTimer(task) as watch:
        await asyncio.sleep(task.calls / 10)
    return watch.measured(0)
