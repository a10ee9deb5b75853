"""A peer's process: `python -m benchmarks.worker MODULE [--uvloop]`.

It imports the peer's module, says that it is ready and which versions it stands on, and then does
one task a line of standard input; for each it prints what that took. Only the job is measured: the
imports before it are not.
"""

import asyncio
import contextlib
import importlib
import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib import metadata

from benchmarks.lag import Heartbeat, percentile
from benchmarks.task import Measured, Task, forget_peak, resident_mib

Run = Callable[[Task], Awaitable[dict[str, float]]]
"""What a peer's module calls `run`: does a task, and gives the rows, and what else it has to say.

A peer that has no event loop gives the same from a plain function.
"""


def measured(run: Run | Callable[[Task], dict[str, float]], task: Task, loop: str) -> Measured:
    """Do a task, and tell what it took."""
    with contextlib.suppress(OSError):
        forget_peak()
    heart = Heartbeat(task.beat_s)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    if inspect.iscoroutinefunction(run):
        with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
            said = runner.run(_beating(run, task, heart))
    else:
        plain = run(task)
        assert isinstance(plain, dict)
        said = plain
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    return Measured(
        rows=int(said.pop("rows")),
        cpu_s=cpu_s,
        wall_s=wall_s,
        peak_mib=resident_mib("VmHWM"),
        lag_p99_ms=percentile(heart.lags_s, 0.99) * 1e3,
        lag_worst_ms=percentile(heart.lags_s, 1) * 1e3,
        extra=said,
    )


async def _beating(run: Run, task: Task, heart: Heartbeat) -> dict[str, float]:
    with heart:
        return await run(task)


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop != "uvloop":
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(loop).new_event_loop
    return factory


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those distributions that this interpreter has."""
    met = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            met[name] = metadata.version(name)
    return met


def main() -> None:
    """Do the tasks that come."""
    module = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}")
    loop = "uvloop" if "--uvloop" in sys.argv else "asyncio"
    stands_on = [*module.STANDS_ON, *(["uvloop"] if loop == "uvloop" else [])]
    _loop_factory(loop)
    print(json.dumps(versions(stands_on)), flush=True)
    for line in sys.stdin:
        print(measured(module.run, Task.of(line), loop).text(), flush=True)


if __name__ == "__main__":
    main()
