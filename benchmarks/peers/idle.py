"""No client at all: an idle loop, whose lag is what the machine and the heartbeat itself cause."""

import asyncio

from benchmarks.task import Task

STANDS_ON = ()


async def run(task: Task) -> dict[str, float]:
    """Wait, as many tenths of a second as calls."""
    await asyncio.sleep(task.calls / 10)
    return {"rows": 0}
