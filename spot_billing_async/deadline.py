"""Until when a call has to be done; waiting for the server's quota may be left out of it."""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Self

from spot_billing_async.errors import DeadlineExceededError


class Deadline:
    """Until when a call has to be done: an async context manager around it.

    Args:
        clock: the reading of the clock that it goes by.
        what: the call, for the error's text.
        left_s: seconds for the call itself.
        paced_freely: the time in which the server's quota holds the call back does not count; so it
            is for the slices of a pull, whose crew waits for the quota by design.
        hard_end_s: reading of the clock after which even that is over.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        what: str,
        left_s: float,
        *,
        paced_freely: bool = False,
        hard_end_s: float = inf,
    ) -> None:
        self._clock = clock
        self._what = what
        self._left_s = left_s
        self._paced_freely = paced_freely
        self._hard_end_s = hard_end_s
        self.ends_at_s = self._due_s = min(clock() + left_s, hard_end_s)
        self._timeout = asyncio.timeout(max(0.0, self.ends_at_s - clock()))

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            if self._due_s == self._hard_end_s:
                message = f"{self._what} did not end before the pull's deadline"
            else:
                message = f"{self._what} did not end within {self._left_s:g} s"
            raise DeadlineExceededError(message) from None

    def bound_s(self, *, refused: bool) -> float:
        """Until when a wait for the gate may last."""
        return self._hard_end_s if self._paced_freely and not refused else self.ends_at_s

    def pause(self) -> float:
        """Stop counting, up to the hard end; the reading of the clock."""
        self._reschedule(self._hard_end_s)
        return self._clock()

    def resume(self, paused_s: float) -> None:
        """Count again, from a pause that began at `paused_s`."""
        waited_s = self._clock() - paused_s
        self.ends_at_s = min(self.ends_at_s + waited_s, self._hard_end_s)
        self._reschedule(self.ends_at_s)

    def _reschedule(self, at_s: float) -> None:
        if self._timeout.expired():
            return
        self._due_s = at_s
        loop_s = asyncio.get_running_loop().time()
        self._timeout.reschedule(None if at_s == inf else loop_s + at_s - self._clock())
