"""Admission of calls: each waits for its limiter and for a free connection slot.

Each limiter has a first-come, first-served queue, and the limiters take turns. A call takes a slot
only when its limiter admits it, so no waiting call occupies one. All decisions are made by the
limiters and the concurrency limit. This module only does the waiting, with a future for each call
and a timer for each queue.
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
from spot_billing_async.errors import CLIENT_IS_CLOSED, ConfigError, DeadlineExceededError

_SHORTEST_TIMER_S = 0.0005


class _Waiter(NamedTuple):
    """Queued call: the future of its permit, and its deadline."""

    admitted: asyncio.Future[Permit]
    ends_at_s: float


class Admission:
    """Queues of calls to one server, by limiter; `clock` is monotonic, in seconds."""

    def __init__(self, limit: ConcurrencyLimit, clock: Callable[[], float]) -> None:
        self.limit: ConcurrencyLimit = limit
        self._clock = clock
        self._queues: dict[Limiter, deque[_Waiter]] = {}
        # Next check of each queue. The time is kept, as not every event loop's handles have it.
        self._timers: dict[Limiter, tuple[float, asyncio.Handle]] = {}
        # True if a limiter admitted a call that found no free slot: any freed slot may serve it.
        self._lacks_slots = False

    def try_start(self, limiter: Limiter) -> Permit | None:
        """Admit a new call at once; return None if it has to `wait`."""
        now_s = self._clock()
        if (
            limiter in self._queues
            or not self.limit.room(has_quota_headers=limiter.has_quota_headers)
            or limiter.wait_s(now_s) > 0
        ):
            return None
        permit = limiter.start(now_s)
        self.limit.start(has_quota_headers=permit.has_quota_headers)
        return permit

    async def wait(self, limiter: Limiter, ends_at_s: float, *, again: bool) -> Permit:
        """Queue a call until it is admitted, or certainly would be only after `ends_at_s`.

        `again` puts it at the head of the queue, after a rejection.
        """
        if (late := self._lateness(limiter, ends_at_s)) is not None:
            raise late
        waiter = _Waiter(asyncio.get_running_loop().create_future(), ends_at_s)
        queue = self._queues.setdefault(limiter, deque())
        if again:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self._admit_next(limiter)
        try:
            return await waiter.admitted
        except BaseException:
            admitted = waiter.admitted
            if waiter in self._queues.get(limiter, ()):
                self._queues[limiter].remove(waiter)
            # A task may be cancelled between its admission and the loop iteration that resumes it.
            if admitted.done() and not admitted.cancelled() and admitted.exception() is None:
                self.on_lost(limiter, admitted.result(), sent=False)
            else:
                self._admit_next(limiter)
            raise

    def on_lost(self, limiter: Limiter, permit: Permit, *, sent: bool) -> None:
        """Record a request without a response; `sent` if the server may have counted it."""
        self.limit.end(has_quota_headers=permit.has_quota_headers)
        limiter.on_lost(permit, self._clock(), sent=sent)
        self._slot_freed(limiter)

    def on_response(
        self,
        limiter: Limiter,
        permit: Permit,
        quota: Quota,
        *,
        waited_s: float | None,
        is_overloaded: bool = False,
    ) -> None:
        """Record a response other than a rate-limit rejection.

        `waited_s` is the time until the response began; None if that does not reflect the server's
        work, as for errors.
        """
        now_s = self._clock()
        self.limit.end(has_quota_headers=permit.has_quota_headers)
        if is_overloaded:
            self.limit.on_overload(permit.sent_s, now_s)
        elif waited_s is not None and not permit.has_quota_headers:
            self.limit.on_response(waited_s, permit.sent_s, now_s)
        limiter.on_response(permit, now_s, quota)
        if self._queues:  # checked here too, as this runs for each response
            self._slot_freed(limiter)

    def on_rejected(
        self, limiter: Limiter, permit: Permit, quota: Quota, *, retry_after_s: float | None
    ) -> None:
        """Record a rate-limit rejection; waiting calls that will miss their deadline now fail."""
        self.limit.end(has_quota_headers=permit.has_quota_headers)
        limiter.on_rejected(permit, self._clock(), quota, retry_after_s)
        self._fail_late(limiter)
        self._slot_freed(limiter)

    def count_sendable(self, limiter: Limiter) -> int:
        """Return how many waiting calls of a limiter could be sent now, if it admitted them."""
        queue = self._queues.get(limiter, ())
        room = self.limit.room(has_quota_headers=limiter.has_quota_headers)
        self._lacks_slots = self._lacks_slots or bool(queue and not room)
        return min(len(queue), room)

    def recheck(self, limiter: Limiter) -> None:
        """Check a limiter's calls again; those that will miss their deadline now fail."""
        self._fail_late(limiter)
        self._admit_next(limiter)

    def _fail_late(self, limiter: Limiter) -> None:
        if limiter.min_wait_s(self._clock()) > 0:
            for admitted, ends_at_s in self._queues.get(limiter, ()):
                late = self._lateness(limiter, ends_at_s)
                if late is not None and not admitted.done():
                    admitted.set_exception(late)

    def close(self) -> None:
        """Fail all waiting calls, as the client is closed."""
        for limiter, queue in tuple(self._queues.items()):
            for admitted, _ in queue:
                if not admitted.done():
                    admitted.set_exception(ConfigError(CLIENT_IS_CLOSED))
            self._remove_queue(limiter)

    def _lateness(self, limiter: Limiter, ends_at_s: float) -> DeadlineExceededError | None:
        now_s = self._clock()
        min_wait_s = limiter.min_wait_s(now_s)
        if now_s + min_wait_s < ends_at_s:
            return None
        message = f"the server's rate limit resets in {min_wait_s:.3g} s, after the deadline"
        return DeadlineExceededError(message, min_wait_s)

    def _slot_freed(self, limiter: Limiter) -> None:
        """Admit waiting calls after a request of `limiter` has ended.

        All queues are checked only if slots were short. Otherwise they wait for their timers: with
        thousands of queues, checking each after every response costs too much.
        """
        self._admit_next(None if self._lacks_slots else limiter)

    def _admit_next(self, changed: Limiter | None) -> None:
        """Admit waiting calls of one limiter, or of all in turns while there are free slots."""
        if changed is None:
            self._lacks_slots = False
        elif changed not in self._queues:
            return
        pending = deque(self._queues if changed is None else (changed,))
        while pending:
            if changed is None and not self.limit.room(has_quota_headers=True):
                self._lacks_slots = True
                break
            limiter = pending.popleft()
            queue = self._queues[limiter]
            # Failed and expired calls are about to resume; no request is to be sent for them.
            while queue and (queue[0].admitted.done() or queue[0].ends_at_s <= self._clock()):
                queue.popleft()
            if not queue:
                self._remove_queue(limiter)
            elif self._can_admit(limiter):
                permit = limiter.start(self._clock())
                self.limit.start(has_quota_headers=permit.has_quota_headers)
                queue.popleft().admitted.set_result(permit)
                # To the back of the order of turns, in this loop and in the next one.
                self._queues[limiter] = self._queues.pop(limiter)
                pending.append(limiter)

    def _can_admit(self, limiter: Limiter) -> bool:
        """Return True if the head of a queue may start; set a timer if only time is missing."""
        wait_s = limiter.wait_s(self._clock())
        if wait_s == 0:
            room = self.limit.room(has_quota_headers=limiter.has_quota_headers)
            self._lacks_slots = self._lacks_slots or not room
            return bool(room)
        if wait_s < inf:
            self._set_timer(limiter, wait_s)
        return False

    def _set_timer(self, limiter: Limiter, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        at_s = loop.time() + max(wait_s, _SHORTEST_TIMER_S)
        earlier_s, handle = self._timers.get(limiter, (inf, None))
        if earlier_s > at_s:
            if handle is not None:
                handle.cancel()
            self._timers[limiter] = at_s, loop.call_at(at_s, self._on_timer, limiter)

    def _on_timer(self, limiter: Limiter) -> None:
        del self._timers[limiter]  # first, so that _set_timer does not take it for a pending one
        self._admit_next(limiter)

    def _remove_queue(self, limiter: Limiter) -> None:
        self._queues.pop(limiter, None)
        if limiter in self._timers:
            self._timers.pop(limiter)[1].cancel()
