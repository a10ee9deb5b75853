"""Until when a call has to be done; waiting for the server's quota may be left out of it."""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Self

from spot_billing_async.errors import DeadlineExceededError


class Deadline:
    """Until when a call has to be done: a context manager around it.

    It cancels the task that is in it, as `asyncio.timeout` does, and takes that back; of that one
    the two coroutines alone take a twentieth of all the work on a small request.

    Args:
        clock: the reading of the clock that it goes by.
        what: the call, for the error's text.
        left_s: seconds for the call itself.
        paced_freely: the time in which the server's quota holds the call back does not count; so it
            is for the slices of a pull, whose crew waits for the quota by design.
        hard_end_s: reading of the clock after which even that is over.

    Raises:
        DeadlineExceededError: on leaving it, where it was what ended the call.
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
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine that awaits is in one
        self._task = task
        self._cancels_before = task.cancelling()
        self._schedule(self.ends_at_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_over:
            return
        # Somebody else may have cancelled the task as well: then that stands.
        is_ours = self._task.uncancel() <= self._cancels_before
        if is_ours and isinstance(error, asyncio.CancelledError):
            if self._due_s == self._hard_end_s:
                message = f"{self._what} did not end before its pull's deadline, or its caller's"
            else:
                message = f"{self._what} did not end within {self._left_s:g} s"
            raise DeadlineExceededError(message) from None

    def bound_s(self, *, refused: bool) -> float:
        """Until when a wait for the gate may last."""
        return self._hard_end_s if self._paced_freely and not refused else self.ends_at_s

    def pause(self) -> float:
        """Stop counting, up to the hard end; the reading of the clock."""
        self._schedule(self._hard_end_s)
        return self._clock()

    def resume(self, paused_s: float) -> None:
        """Count again, from a pause that began at `paused_s`."""
        waited_s = self._clock() - paused_s
        self.ends_at_s = min(self.ends_at_s + waited_s, self._hard_end_s)
        self._schedule(self.ends_at_s)

    def _schedule(self, at_s: float) -> None:
        if self._is_over:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_s = at_s
        if at_s != inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, at_s - self._clock()), self._end)

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
