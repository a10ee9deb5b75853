"""Deadlines: one per call, over one shared timer; and `deadline(...)` for a block of calls."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from math import inf
from time import monotonic
from typing import Self

from spot_billing_async.errors import DeadlineExceededError
from spot_billing_async.models.validation import check_seconds

_AGAIN_S = 0.02
"""A call that goes on is cancelled again after it: a token provider may catch a cancellation."""
_PAUSED_REFUSALS = 8  # of one request, after which waiting for the quota counts


class DeadlineTimer:
    """One event-loop timer for the deadlines of all calls of a client.

    A timer per call (`loop.call_later`) takes 22,000 more instructions, 4 % of a small request.
    Calls have similar deadlines and nearly all end before them, so one for the earliest is enough.

    Made in the loop in which the client is entered; deadlines of other loops are never added.
    """

    def __init__(self) -> None:
        self.running: set[Deadline] = set()  # of the calls that have not ended
        self._loop = asyncio.get_running_loop()
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
            self._handle = self._loop.call_later(at_s - monotonic(), self._fire)

    def _fire(self) -> None:
        now_s = monotonic()
        due = [deadline for deadline in self.running if deadline.due_s <= now_s]
        for deadline in due:
            deadline.due_s = now_s + _AGAIN_S
        # Set before the tasks are cancelled: one of a class of its own may raise.
        self._set(min((deadline.due_s for deadline in self.running), default=inf))
        for deadline in due:
            deadline.cancels += 1
            deadline.task.cancel()  # as `asyncio.timeout` does


class Deadline:
    """Deadline of one call: a context manager that ends it with a `DeadlineExceededError`.

    `pull_ends_at_s` is the end of the call's pull, if it is a slice of one. Waiting for the quota
    then does not count against `timeout_s`, as the workers of a pull wait for it by design.
    """

    def __init__(
        self,
        timer: DeadlineTimer,
        task: "asyncio.Task[object]",
        what: str,
        timeout_s: float,
        pull_ends_at_s: float | None,
    ) -> None:
        self._timer = timer
        self.task: asyncio.Task[object] = task
        self._what = what
        self._timeout_s = timeout_s
        self._pauses_for_quota = pull_ends_at_s is not None
        self._hard_end_s = hard_end_s(pull_ends_at_s)
        # Time at which the call's own time ends, as known so far, ...
        self.ends_at_s: float = min(monotonic() + timeout_s, self._hard_end_s)
        self.due_s: float = self.ends_at_s  # ... and is cancelled: later while it is paused
        self.cancels: int = 0

    def __enter__(self) -> Self:
        self._cancels_before = self.task.cancelling()
        self._timer.add(self)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._timer.running.remove(self)
        if not self.cancels:
            return
        for _ in range(self.cancels):
            cancels = self.task.uncancel()
        # Race: the caller may have cancelled the task as well. Then its cancellation stands.
        if cancels <= self._cancels_before and isinstance(error, asyncio.CancelledError):
            timeout_s = None if self.ends_at_s == self._hard_end_s else self._timeout_s
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
        began_s = monotonic()
        self.due_s = ends_at_s  # the timer may fire earlier, and sets itself again
        try:
            yield ends_at_s
        finally:
            waited_s = monotonic() - began_s
            self.ends_at_s = min(self.ends_at_s + waited_s, self._hard_end_s)
            if not self.cancels:
                self.due_s = self.ends_at_s
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
    """
    check_seconds("deadline_s", deadline_s)
    before = _ends_at_s.set(min(_ends_at_s.get(), monotonic() + deadline_s))
    try:
        yield
    finally:
        _ends_at_s.reset(before)


def without_deadline() -> Context:
    """Copy the current context without its `deadline`, for work that several callers share."""
    context = copy_context()
    context.run(_ends_at_s.set, inf)
    return context


def hard_end_s(pull_ends_at_s: float | None) -> float:
    """Return when a call must end, by its pull or by `deadline`; raise if that has passed."""
    ends_at_s = _ends_at_s.get()
    if ends_at_s <= monotonic():
        raise DeadlineExceededError("the caller's deadline passed before this call began")
    return ends_at_s if pull_ends_at_s is None else min(ends_at_s, pull_ends_at_s)
