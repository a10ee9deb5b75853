"""A clock and an event loop whose time does not depend on the speed of the machine.

Under callgrind a process is 50 times slower. By the real clock the client would then take its own
slowness for that of the server, and queue calls. By this clock the work for each event of a socket
takes 130 us, which is about a call of 10 rows at full speed, and waits take as long as they are.
"""

import asyncio
import selectors
import time
from functools import partial
from operator import getitem
from typing import Any

_EVENT_S = 130e-6
_ITERATION_S = 10e-6
_now_s = [1_000_000.0]


class _Selector(selectors.DefaultSelector):
    """A selector that moves the clock."""

    def select(self, timeout: float | None = None) -> Any:  # noqa: ANN401  as in the base class
        ready = super().select(timeout)
        waited_s = timeout if timeout and not ready else 0.0
        _now_s[0] += waited_s + _ITERATION_S + len(ready) * _EVENT_S
        return ready


def set_clock() -> None:
    """Replace `time.monotonic`; modules that keep a reference to it must be imported later."""
    clock: Any = partial(getitem, _now_s, 0)  # no Python code, so it costs few instructions
    time.monotonic = clock


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that moves the clock."""
    return asyncio.SelectorEventLoop(_Selector())
