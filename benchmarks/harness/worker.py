"""A peer's process: `python -m benchmarks.harness.worker MODULE [--uvloop] [--freeze]`.

It imports the peer's module, says that it is ready and which versions it stands on, and then does
one task a line of standard input; for each it prints what that took. Only the job is measured: the
imports before it are not.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from importlib import metadata
from typing import Any

from benchmarks.harness.task import Measured, Task

Run = Callable[[Task], Any]
"""What a peer's module calls `run`: does a task, and tells what that took.

Any: it gives a `Measured`, or a coroutine that does.
"""


def done(run: Run, task: Task, loop: str) -> Measured:
    """Do a task, in a loop of that kind where the peer needs one."""
    said = run(task)
    if isinstance(said, Awaitable):
        with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
            said = runner.run(_awaited(said))
    assert isinstance(said, Measured)
    return said


async def _awaited(said: Awaitable[object]) -> object:
    return await said


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
        if "--freeze" in sys.argv:
            # A full collection is as dear as a dozen calls, and falls into one task or another.
            gc.collect()
            gc.freeze()
        print(done(module.run, Task.of(line), loop).text(), flush=True)


if __name__ == "__main__":
    main()
