"""Lag of an event loop, measured by a heartbeat in it.

A loop that is blocked for a second misses many beats, but runs a single late one. A timer may be
due at any moment, so the missed beats count too, each as late as it would have been. Percentiles
are then those of a timer at a random moment.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Self


def lags_of(late_s: float, every_s: float) -> list[float]:
    """Return the lags of a late beat and of those that were due while the loop was blocked."""
    missed = int(late_s / every_s)
    return [late_s - i * every_s for i in range(missed + 1)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))] if ordered else 0.0


class Heartbeat:
    """A timer of the running loop that beats again and again: a context manager.

    Args:
        every_s: seconds from a beat to the time at which the next is due.

    Attributes:
        lags_s: how many seconds late each beat was.
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
        if late_s > 0:  # the loop was blocked to the end, so the beat that is due did not run
            self.lags_s += lags_of(late_s, self._every_s)

    def _schedule(self) -> None:
        self._due_s = time.perf_counter() + self._every_s
        self._timer = self._loop.call_later(self._every_s, self._beat)

    def _beat(self) -> None:
        late_s = max(0.0, time.perf_counter() - self._due_s)
        self.lags_s += lags_of(late_s, self._every_s)
        self._schedule()
