"""Who may send next: calls line up at their gate, and for one of the places on the wire.

Each gate has a line of its own, first come, first served; the gates take turns. A call takes a
place on the wire only at the moment its gate lets it through, so none is held by one that waits.
All decisions are the gates' and the limit's; here is only the waiting: a future for each call, a
timer for each line.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from spot_billing_async._core.pacing.abc import Limiter
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.errors import (
    CLIENT_WAS_LEFT,
    ConfigError,
    DeadlineExceededError,
    SpotBillingError,
)

_SHORTEST_TIMER_S = 0.0005


class _Waiter:
    """A call in line.

    Attributes:
        admitted: its ticket, once it has one.
        ends_at_s: when it has to be done; a wait that is sure to take longer is not begun.
    """

    __slots__ = ("admitted", "ends_at_s")

    def __init__(self, ends_at_s: float) -> None:
        self.admitted: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self.ends_at_s = ends_at_s


class _Timer(NamedTuple):
    """When a line is looked at again; not every loop's handles tell their time."""

    at_s: float
    handle: asyncio.Handle


class Admission:
    """The lines before one server's gates.

    Args:
        limit: how many may be on the wire at once.
        clock: seconds that only grow.
    """

    def __init__(self, limit: ConcurrencyLimit, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._lines: dict[Limiter, deque[_Waiter]] = {}
        self._timers: dict[Limiter, _Timer] = {}
        self._is_short = False  # a gate was open, and there was no place for its first call

    def is_open(self, limiter: Limiter) -> bool:
        """Whether a call that comes now is let through at once."""
        return (
            limiter not in self._lines
            and self.limit.has_room(told=limiter.is_told)
            and limiter.wait_s(self._clock()) == 0
        )

    def start(self, limiter: Limiter) -> Permit:
        """Let a call through; only where the gate `is_open`."""
        permit = limiter.start(self._clock())
        self.limit.start(told=permit.is_told)
        return permit

    async def wait(self, limiter: Limiter, ends_at_s: float, *, again: bool) -> Permit:
        """Line up until the gate lets this call through.

        Args:
            limiter: of the call's credential, route and method.
            ends_at_s: the call's deadline, on this clock.
            again: it was refused, and goes back to the head of the line.

        Raises:
            DeadlineExceededError: its turn is sure to come after the deadline.
        """
        waiter = _Waiter(ends_at_s)
        late = self._lateness(limiter, waiter)
        if late is not None:
            raise late
        line = self._lines.setdefault(limiter, deque())
        if again:
            line.appendleft(waiter)
        else:
            line.append(waiter)
        self._move_up(limiter)
        try:
            return await waiter.admitted
        except BaseException:
            self._leave(limiter, waiter)
            raise

    def _leave(self, limiter: Limiter, waiter: _Waiter) -> None:
        """A call no longer waits: it gives back what it may have got, and the others move up."""
        admitted = waiter.admitted
        line = self._lines.get(limiter, ())
        if waiter in line:
            self._lines[limiter].remove(waiter)
        if admitted.done() and not admitted.cancelled() and admitted.exception() is None:
            self.on_lost(limiter, admitted.result(), sent=False)
        else:
            self._move_up(limiter)

    def on_lost(self, limiter: Limiter, permit: Permit, *, sent: bool) -> None:
        """The request came to nothing."""
        self.limit.end(told=permit.is_told)
        limiter.on_lost(permit, self._clock(), sent=sent)
        self._place_is_free(limiter)

    def on_response(
        self,
        limiter: Limiter,
        permit: Permit,
        quota: Quota,
        *,
        waited_s: float | None,
        is_overloaded: bool = False,
    ) -> None:
        """The request was answered, and not refused for its rate.

        `waited_s` is how long its answer took to begin; None where that tells nothing of how long
        the work takes, as with an error.
        """
        now_s = self._clock()
        self.limit.end(told=permit.is_told)
        if is_overloaded:
            self.limit.overloaded(permit.sent_s, now_s)
        elif waited_s is not None and not permit.is_told:
            self.limit.on_response(waited_s, permit.sent_s, now_s)
        limiter.on_response(permit, now_s, quota)
        self._place_is_free(limiter)

    def on_rejected(
        self, limiter: Limiter, permit: Permit, quota: Quota, *, retry_after_s: float | None
    ) -> None:
        """The request was refused for its rate; calls that are sure to be late now fail."""
        self.limit.end(told=permit.is_told)
        limiter.on_rejected(permit, self._clock(), quota, retry_after_s)
        self._end_the_late(limiter)
        self._place_is_free(limiter)

    def waiting(self, limiter: Limiter) -> int:
        """How many of a gate's calls could go on the wire now, if it let them."""
        line = self._lines.get(limiter, ())
        room = self.limit.room(told=limiter.is_told)
        self._is_short = self._is_short or bool(line and not room)
        return min(len(line), room)

    def changed(self, limiter: Limiter) -> None:
        """Look at a gate's calls again; those that are sure to be late now fail."""
        self._end_the_late(limiter)
        self._move_up(limiter)

    def _end_the_late(self, limiter: Limiter) -> None:
        if limiter.due_s(self._clock()) > 0:
            for waiter in tuple(self._lines.get(limiter, ())):
                late = self._lateness(limiter, waiter)
                if late is not None:
                    self._fail(limiter, waiter, late)

    def close(self) -> None:
        """Send those away who still wait: the client is left."""
        for limiter in tuple(self._lines):
            for waiter in tuple(self._lines.get(limiter, ())):
                self._fail(limiter, waiter, ConfigError(CLIENT_WAS_LEFT))
            self._forget(limiter)

    def _lateness(self, limiter: Limiter, waiter: _Waiter) -> DeadlineExceededError | None:
        now_s = self._clock()
        due_s = limiter.due_s(now_s)
        if now_s + due_s < waiter.ends_at_s:
            return None
        message = f"the server's rate limit opens again in {due_s:.3g} s, after the deadline"
        return DeadlineExceededError(message, due_s)

    def _fail(self, limiter: Limiter, waiter: _Waiter, error: SpotBillingError) -> None:
        self._lines[limiter].remove(waiter)
        if not waiter.admitted.done():
            waiter.admitted.set_exception(error)

    def _place_is_free(self, limiter: Limiter) -> None:
        """A call of a gate is over; where places were short, the others look at theirs too.

        Else they wait for their timers: with thousands of them, to look at all is not for every
        answer.
        """
        self._move_up(None if self._is_short else limiter)

    def _move_up(self, changed: Limiter | None) -> None:
        """Let through whoever may go now, of a gate or of all; these take turns, one call each.

        Nobody is looked at for whom there can be no place.
        """
        if not self._lines:
            return
        if changed is None:
            waiting = deque(self._lines.items())
            self._is_short = False
        else:
            line = self._lines.get(changed)
            waiting = deque([(changed, line)] if line is not None else [])
        while waiting:
            if changed is None and not self.limit.has_room(told=True):
                self._is_short = True
                break
            limiter, line = waiting.popleft()
            # Cancelled or out of time: it is about to notice, and nothing is to be sent for it.
            while line and (line[0].admitted.done() or line[0].ends_at_s <= self._clock()):
                line.popleft()
            if not line:
                self._forget(limiter)
            elif self._is_next(limiter):
                line.popleft().admitted.set_result(self.start(limiter))
                # Back of the turn order, here and for the next time.
                self._lines[limiter] = self._lines.pop(limiter)
                waiting.append((limiter, line))

    def _is_next(self, limiter: Limiter) -> bool:
        """Whether the head of a line may go; where only the clock is in its way, a timer is set."""
        wait_s = limiter.wait_s(self._clock())
        if wait_s == 0:
            has_room = self.limit.has_room(told=limiter.is_told)
            self._is_short = self._is_short or not has_room
            return has_room
        if wait_s < inf:
            self._look_again(limiter, wait_s)
        return False

    def _look_again(self, limiter: Limiter, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        at_s = loop.time() + max(wait_s, _SHORTEST_TIMER_S)
        timer = self._timers.get(limiter)
        if timer is not None:
            if timer.at_s <= at_s:
                return
            timer.handle.cancel()
        self._timers[limiter] = _Timer(at_s, loop.call_at(at_s, self._time_has_come, limiter))

    def _time_has_come(self, limiter: Limiter) -> None:
        del self._timers[limiter]  # first: it is none that is still to come
        self._move_up(limiter)

    def _forget(self, limiter: Limiter) -> None:
        self._lines.pop(limiter, None)
        timer = self._timers.pop(limiter, None)
        if timer is not None:
            timer.handle.cancel()
