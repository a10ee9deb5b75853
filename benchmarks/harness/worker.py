"""A peer's process: `python -m benchmarks.harness.worker MODULE [--uvloop | --steady]`.

It imports the peer's module and prints the versions of the libraries that the peer uses. Then it
does one task for each line of standard input, and prints its measurement. Imports are not measured.
`--steady` makes instruction counts independent of the machine's speed and of earlier tasks.
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

from benchmarks.harness import steady
from benchmarks.harness.task import Measurement, Task

Run = Callable[[Task], Any]
"""The function `run` of a peer's module, which does a task.

Any: it returns a `Measurement`, or a coroutine that does.
"""


def run_task(run: Run, task: Task, loop: str) -> Measurement:
    """Do a task; an asynchronous peer gets an event loop of a kind."""
    result = run(task)
    if isinstance(result, Awaitable):
        with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
            result = runner.run(_awaited(result))
    assert isinstance(result, Measurement)
    return result


async def _awaited(result: Awaitable[object]) -> object:
    # A coroutine, which is what Runner.run takes.
    return await result


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the function that makes a loop of the kind `asyncio`, `uvloop` or `steady`."""
    if loop == "steady":
        return steady.new_event_loop
    if loop != "uvloop":
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(loop).new_event_loop
    return factory


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed for this interpreter."""
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def main() -> None:
    """Do the tasks of standard input."""
    loop = next((kind for kind in ("uvloop", "steady") if f"--{kind}" in sys.argv), "asyncio")
    if loop == "steady":
        steady.set_clock()
    module = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}")
    libraries = [*module.LIBRARIES, *(["uvloop"] if loop == "uvloop" else [])]
    _loop_factory(loop)  # an import error must come before the versions
    print(json.dumps(versions(libraries)), flush=True)
    for line in sys.stdin:
        if loop == "steady":
            # A full collection costs as much as a dozen calls, and could fall into any task.
            gc.collect()
            gc.freeze()
        print(run_task(module.run, Task.from_json(line), loop).to_json(), flush=True)


if __name__ == "__main__":
    main()
