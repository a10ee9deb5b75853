"""Deadlines: one per call, over one shared timer; and `deadline(...)` for a block of calls."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from math import inf
from typing import Self

from spot_billing_async.errors import DeadlineExceededError
from spot_billing_async.models.validation import check_seconds

_PAUSED_REFUSALS = 8  # of one request, after which waiting for the quota counts


class DeadlineTimer:
    """One event-loop timer for the deadlines of all calls of a client, by a monotonic clock.

    A timer per call would be the largest cost of a small request beside its bytes. Calls have
    similar deadlines and nearly all end before them, so one timer for the earliest is enough.

    Attributes:
        running: deadlines of the calls that have neither ended nor expired.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock: Callable[[], float] = clock
        self.running: set[Deadline] = set()
        self._fires_at_s = inf
        self._handle: asyncio.TimerHandle | None = None

    def add(self, deadline: "Deadline") -> None:
        """Start to watch a deadline, or watch it at its new time."""
        self.running.add(deadline)
        if deadline.due_s < self._fires_at_s:
            self._set(deadline.due_s)

    def close(self) -> None:
        """Cancel the timer, unless a call is still running."""
        if not self.running:
            self._set(inf)

    def _set(self, at_s: float) -> None:
        """Set the timer in place of the present one; infinity sets none."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._fires_at_s = None, at_s
        if at_s < inf:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(max(0.0, at_s - self.clock()), self._fire)

    def _fire(self) -> None:
        now_s = self.clock()
        for deadline in [d for d in self.running if d.due_s <= now_s]:
            self.running.remove(deadline)
            deadline.task.cancel()  # as `asyncio.timeout` does
        self._set(min((deadline.due_s for deadline in self.running), default=inf))


class Deadline:
    """Deadline of one call: a context manager that ends it with a `DeadlineExceededError`.

    With `pauses_for_quota`, waiting for the server's quota does not count against `timeout_s`.
    Slices of a pull use this, because their workers wait for the quota by design. `hard_end_s` is
    the reading of the timer's clock at which the call ends in any case.
    """

    def __init__(
        self,
        timer: DeadlineTimer,
        what: str,
        timeout_s: float,
        *,
        pauses_for_quota: bool = False,
        hard_end_s: float = inf,
    ) -> None:
        self._timer = timer
        self._what = what
        self._timeout_s = timeout_s
        self._pauses_for_quota = pauses_for_quota
        self._hard_end_s = hard_end_s
        # Reading of the clock at which the call's own time ends, as known so far, ...
        self.ends_at_s: float = min(timer.clock() + timeout_s, hard_end_s)
        self.due_s: float = self.ends_at_s  # ... and is cancelled: later while it is paused

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine that awaits runs in a task
        self.task: asyncio.Task[object] = task
        # Taken from the task: asyncio.get_running_loop() makes a system call on Python 3.11.
        self.loop: asyncio.AbstractEventLoop = task.get_loop()
        self._cancels_before = task.cancelling()
        self._timer.add(self)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self in self._timer.running:
            self._timer.running.remove(self)
            return
        # Race: the caller may have cancelled the task as well. Then its cancellation stands.
        is_ours = self.task.uncancel() <= self._cancels_before
        if is_ours and isinstance(error, asyncio.CancelledError):
            timeout_s = None if self.due_s == self._hard_end_s else self._timeout_s
            raise DeadlineExceededError(deadline_message(self._what, timeout_s)) from None

    def end_of_quota_wait_s(self, refusals: int) -> float:
        """Return the time at which a wait for the quota ends at the latest.

        After too many refusals of the same request a wait counts in any case: a server that
        refuses for ever is not asked for ever.
        """
        is_paused = self._pauses_for_quota and refusals <= _PAUSED_REFUSALS
        return self._hard_end_s if is_paused else self.ends_at_s

    @contextmanager
    def waiting_for_quota(self, *, refusals: int) -> Iterator[float]:
        """Pause the call's own time, if it pauses for the quota; yield the end of the wait."""
        ends_at_s = self.end_of_quota_wait_s(refusals)
        if ends_at_s == self.ends_at_s:
            yield ends_at_s
            return
        began_s = self._timer.clock()
        self._move(ends_at_s)
        try:
            yield ends_at_s
        finally:
            waited_s = self._timer.clock() - began_s
            self.ends_at_s = min(self.ends_at_s + waited_s, self._hard_end_s)
            self._move(self.ends_at_s)

    def _move(self, due_s: float) -> None:
        if self in self._timer.running:
            self.due_s = due_s
            self._timer.add(self)


def deadline_message(what: str, timeout_s: float | None) -> str:
    """Return the text of a call's error; `timeout_s` is None if its pull or its caller ended it."""
    if timeout_s is None:
        return f"{what} did not end before the deadline of its pull or its caller"
    return f"{what} did not end within {timeout_s:g} s"


# The deadline travels with the context: the task of a request and all tasks made in it share it.
_ends_at_s: ContextVar[float] = ContextVar("ends_at_s", default=inf)


@contextmanager
def deadline(deadline_s: float) -> Iterator[None]:
    """Limit the time of every call and pull that starts inside the block.

    The client's own `deadline_s` and outer blocks still hold. Waiting for the server's quota
    counts. A call that is not done in time raises `DeadlineExceededError`; a slice of a pull
    becomes `Failed`. Nothing is sent after the deadline. The deadline belongs to the context: a
    plain function that a framework runs in a thread has a context of its own.

        with deadline(2.5):
            items = await client.costs.get(account_id, day, day)

    Args:
        deadline_s: seconds from now, above 0.

    Raises:
        ConfigError: `deadline_s` is not a number above 0.
    """
    check_seconds("deadline_s", deadline_s)
    before = _ends_at_s.set(min(_ends_at_s.get(), time.monotonic() + deadline_s))
    try:
        yield
    finally:
        _ends_at_s.reset(before)


def without_deadline() -> Context:
    """Copy the current context without its `deadline`, for work that several callers share."""
    context = copy_context()
    context.run(_ends_at_s.set, inf)
    return context


def hard_end_s(pull_ends_at_s: float | None, clock: Callable[[], float]) -> float:
    """Return the reading of `clock` at which a call must end, by its pull or by `deadline`.

    Raises:
        DeadlineExceededError: the `deadline` of the block has passed.
    """
    ends_at_s = inf if pull_ends_at_s is None else pull_ends_at_s
    block_ends_at_s = _ends_at_s.get()
    if block_ends_at_s < inf:
        left_s = block_ends_at_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceededError("the caller's deadline passed before this call began")
        ends_at_s = min(ends_at_s, clock() + left_s)
    return ends_at_s
