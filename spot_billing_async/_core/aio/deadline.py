"""Until when a call has to be done; waiting for the server's quota may be left out of it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from math import inf
from types import TracebackType
from typing import Self

from spot_billing_async.errors import DeadlineExceededError
from spot_billing_async.models.validation import check_seconds


class DeadlineTimer:
    """Ends the calls whose deadlines pass, of all calls of a client, with one timer.

    A timer for each call is the most that a small request costs beside its bytes. Calls have
    deadlines alike, and nearly all are done by then: so one look at the first of them is enough.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._running: set[Deadline] = set()
        self._looks_at_s = inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, deadline: "Deadline") -> None:
        """DeadlineTimer over a deadline, which may have been moved."""
        self._running.add(deadline)
        if deadline.due_s < self._looks_at_s:
            self._look_at(deadline.due_s)

    def remove(self, deadline: "Deadline") -> None:
        """Its call is over."""
        self._running.discard(deadline)

    def close(self) -> None:
        """Look no more, unless a call still runs."""
        if not self._running:
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._looks_at_s = None, inf

    def _look_at(self, at_s: float) -> None:
        self._stop()
        self._looks_at_s = at_s
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, at_s - self.clock()), self._look)

    def _look(self) -> None:
        self._stop()
        now_s = self.clock()
        for deadline in [d for d in self._running if d.due_s <= now_s]:
            self._running.discard(deadline)
            deadline.end()
        first_s = min((deadline.due_s for deadline in self._running), default=inf)
        if first_s < inf:
            self._look_at(first_s)


class Deadline:
    """Until when a call has to be done: a context manager around it.

    It cancels the task that is in it, as `asyncio.timeout` does, and takes that back.

    Args:
        watch: over the deadlines of all calls of the client; it goes by its clock.
        what: the call, for the error's text.
        left_s: seconds for the call itself.
        paced_freely: the time in which the server's quota holds the call back does not count; so it
            is for the slices of a pull, whose crew waits for the quota by design.
        hard_end_s: reading of the clock after which even that is over.

    Raises:
        DeadlineExceededError: on leaving it, where it was what ended the call.

    Attributes:
        loop: the event loop that the call is made in.
        ends_at_s: reading of the clock by which the call has to be done, as far as it is known.
        due_s: reading of the clock at which it is ended; later than that while it is held back.
    """

    def __init__(
        self,
        watch: DeadlineTimer,
        what: str,
        left_s: float,
        *,
        paced_freely: bool = False,
        hard_end_s: float = inf,
    ) -> None:
        self._watch = watch
        self._what = what
        self._left_s = left_s
        self._paced_freely = paced_freely
        self._hard_end_s = hard_end_s
        self.ends_at_s = self.due_s = min(watch.clock() + left_s, hard_end_s)
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine that awaits is in one
        self._task = task
        self.loop = task.get_loop()  # asked for itself it takes a system call, on Python 3.11
        self._cancels_before = task.cancelling()
        self._watch.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.remove(self)
        if not self._is_over:
            return
        # Somebody else may have cancelled the task as well: then that stands.
        is_ours = self._task.uncancel() <= self._cancels_before
        if is_ours and isinstance(error, asyncio.CancelledError):
            left_s = None if self.due_s == self._hard_end_s else self._left_s
            raise DeadlineExceededError(overrun(self._what, left_s)) from None

    def bound_s(self, *, refused: bool) -> float:
        """Until when a wait for the gate may last."""
        return self._hard_end_s if self._paced_freely and not refused else self.ends_at_s

    def pause(self) -> float:
        """Stop counting, up to the hard end; the reading of the clock."""
        self._move(self._hard_end_s)
        return self._watch.clock()

    def resume(self, paused_s: float) -> None:
        """Count again, from a pause that began at `paused_s`."""
        waited_s = self._watch.clock() - paused_s
        self.ends_at_s = min(self.ends_at_s + waited_s, self._hard_end_s)
        self._move(self.ends_at_s)

    def end(self) -> None:
        """It has passed: cancel the call."""
        self._is_over = True
        self._task.cancel()

    def _move(self, due_s: float) -> None:
        if not self._is_over:
            self.due_s = due_s
            self._watch.add(self)


def overrun(what: str, left_s: float | None) -> str:
    """What the error of a call says that did not end in time.

    Args:
        what: the call.
        left_s: the seconds that it had for itself; None where it was ended before they had passed.
    """
    if left_s is None:
        return f"{what} did not end before its pull's deadline, or its caller's"
    return f"{what} did not end within {left_s:g} s"


_ends_at_s: ContextVar[float] = ContextVar("ends_at_s", default=inf)


@contextmanager
def deadline(deadline_s: float) -> Iterator[None]:
    """Have every call and pull that is begun in a block end by then.

    The client's own `deadline_s`, and an outer block, go on to hold. Waiting for the server's quota
    counts. What is not done in time fails as by any deadline: a call with a
    `DeadlineExceededError`, a slice of a pull as `Failed`. Nothing is sent after it. It goes with
    the context; a plain function that a framework runs in a thread has one of its own.

        with within(2.5):
            items = await client.costs.get(account_id, day, day)

    Args:
        deadline_s: seconds from now.

    Raises:
        ConfigError: it is no number of seconds above 0.
    """
    check_seconds("deadline_s", deadline_s)
    before = _ends_at_s.set(min(_ends_at_s.get(), time.monotonic() + deadline_s))
    try:
        yield
    finally:
        _ends_at_s.reset(before)


def without_deadline() -> Context:
    """The present context, but for any `deadline`: for work that others have a share in."""
    context = copy_context()
    context.run(_ends_at_s.set, inf)
    return context


def hard_end_s(ends_at_s: float | None, clock: Callable[[], float]) -> float:
    """The reading of a clock by which a call has to be done: that of its pull, or of `deadline`.

    Args:
        ends_at_s: the reading at which its pull ends; None for a call of its own.
        clock: seconds that only grow.

    Raises:
        DeadlineExceededError: the deadline of `deadline` has passed.
    """
    pull_ends_at_s = inf if ends_at_s is None else ends_at_s
    around_ends_at_s = _ends_at_s.get()
    if around_ends_at_s == inf:
        return pull_ends_at_s
    left_s = around_ends_at_s - time.monotonic()
    if left_s <= 0:
        raise DeadlineExceededError("the caller's deadline passed before this call began")
    return min(pull_ends_at_s, clock() + left_s)
