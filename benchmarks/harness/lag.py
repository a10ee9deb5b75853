"""How late an event loop is: a heartbeat in it, and what its delays say of every other timer.

A loop that stands still for a second misses many beats, but would see one late one. A timer may be
due at any moment, so the beats that fell into the standstill count too, each as late as it would
have been: the percentiles are then those of a timer at a random moment.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Self


def lags_of(late_s: float, every_s: float) -> list[float]:
    """What one late beat stands for: itself, and those that fell into the time it was late by."""
    missed = int(late_s / every_s)
    return [late_s - i * every_s for i in range(missed + 1)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values does not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))] if ordered else 0.0


class Heartbeat:
    """Beats in the running loop, by timers alone: a context manager.

    Args:
        every_s: seconds from a beat to when the next is due.

    Attributes:
        lags_s: how many seconds each beat was late.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.lags_s: list[float] = []

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._schedule()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        late_s = time.perf_counter() - self._due_s
        if late_s > 0:  # due, and not even begun
            self.lags_s += lags_of(late_s, self._every_s)

    def _schedule(self) -> None:
        self._due_s = time.perf_counter() + self._every_s
        self._timer = self._loop.call_later(self._every_s, self._beat)

    def _beat(self) -> None:
        late_s = max(0.0, time.perf_counter() - self._due_s)
        self.lags_s += lags_of(late_s, self._every_s)
        self._schedule()
