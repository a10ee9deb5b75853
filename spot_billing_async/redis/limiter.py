"""Limiter that several processes share: this process's replica, and its events for the log.

The limiter is *attached* while its replica follows the log. While it is *detached*, because the
log is unavailable, its events are applied to its own replica at once, at the estimated time of the
log's clock. Decisions are thus made in one way, with other processes and without.

A limiter of a token that the server has not accepted follows a log that is there, and begins none.
"""

import random
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Protocol

from spot_billing_async._core.pacing.abc import WaitingCalls
from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota, RateLimit
from spot_billing_async.redis.replica import (
    RENEW_S,
    LeaseRenewed,
    LogEntry,
    LogEvent,
    PermitsHeld,
    PermitsRequested,
    Replica,
    RequestLost,
    RequestRejected,
    ResponseReceived,
    Snapshot,
    snapshot_of,
)
from spot_billing_async.redis.server_clock import ServerClock

_SHORTEST_WAIT_S = 0.001  # resolution of the log's stamps
_SPREAD_S = 0.001  # for each process, so that not all request the same free place at once
_MOST_UNSHARED = 20
_FIRST_ANSWER_S = 1.0  # between requests of a token without a log, until the first answer


class EventLog(Protocol):
    """Log that a limiter shares with other processes.

    Attributes:
        owner: name of this process in the log.
        server_clock: estimate of the log's clock.
        waiting_calls: calls that wait in this process; None while closed.
    """

    owner: str
    server_clock: ServerClock
    waiting_calls: WaitingCalls | None

    def schedule_write(self, limiter: "SharedLimiter") -> None:
        """Write a limiter's new events soon."""
        ...

    def activate(self, limiter: "SharedLimiter") -> float:
        """Attach a limiter soon; return the seconds that it may wait for that."""
        ...


class SharedLimiter:
    """Limiter shared with other processes; implements `pacing.abc.Limiter`.

    Args:
        key: key of the log that holds its events.
        log: log that its events are written to.

    Attributes:
        key: as given.
        replica: state shared by all processes.
        is_attached: the replica follows the log.
        is_active: it is attached, or about to be.
        used_s: time of its last use.
        is_accepted: the server has accepted the token, so a log may be begun for it.
        unshared: ends of the last requests before there was a log, to be added to it.
    """

    def __init__(self, key: str, log: EventLog) -> None:
        self.key = key
        self.replica: Replica = Replica()
        self.is_attached: bool = False
        self.is_active: bool = False
        self.is_accepted: bool = False
        self._has_no_log = False
        self.unshared: deque[ResponseReceived | RequestRejected | RequestLost] = deque(
            maxlen=_MOST_UNSHARED
        )
        self._log = log
        self._attach_wait_until_s = -inf
        self._rejected_until_s = -inf
        self._serial = self._number = 0
        self._held: set[int] = set()
        self._granted: deque[int] = deque()  # held permits that no call has taken yet
        self._requested = 0
        self._unwritten: list[LogEvent] = []
        self._unconfirmed: deque[LogEntry] = deque()  # written, but not read back yet
        self.used_s: float = -inf
        self._last_event_s = -inf

    @property
    def has_quota_headers(self) -> bool:
        """True if the server reports its quota in headers."""
        return self.replica.limiter.has_quota_headers

    @property
    def rate_limit(self) -> RateLimit | None:
        """The server's limit; None if no limit has been observed."""
        return self.replica.limiter.rate_limit

    @property
    def has_unconfirmed(self) -> bool:
        """True if a written entry has not been read back from the log."""
        return bool(self._unconfirmed)

    @property
    def has_pending(self) -> bool:
        """True if an event has not been read back from the log, whether written or not."""
        return bool(self._unconfirmed or self._unwritten)

    def is_idle(self, now_s: float, for_s: float) -> bool:
        """Return True if it has been unused for some seconds."""
        is_used = self._held or self.has_pending or self._waiting()
        return not is_used and now_s - self.used_s > for_s

    def wait_s(self, now_s: float) -> float:
        """Return 0.0 if a request may start now, else the seconds until the next check."""
        if self._granted:
            return 0.0
        waiting = self._waiting()
        if waiting and not self.is_active and (self.is_accepted or not self._has_no_log):
            self._activate(now_s)
        if not self.is_attached and now_s < self._attach_wait_until_s:
            return self._attach_wait_until_s - now_s
        wait_s = self._opens_in_s(now_s)
        if wait_s > 0:
            # Random, as otherwise all processes would request the one free place at once.
            others = self.replica.leases.keys() - {self._log.owner} if self.is_attached else ()
            return wait_s + random.uniform(0, len(others) * _SPREAD_S)  # noqa: S311  no secret
        if waiting > self._requested:
            self._request_permits(waiting - self._requested, now_s)
        if self._granted:
            return 0.0
        if self.is_attached or not waiting:
            return inf  # the log will notify, or no call waits
        return max(self._opens_in_s(now_s), _SHORTEST_WAIT_S)

    def min_wait_s(self, now_s: float) -> float:
        """Return a lower bound of the seconds until a request may start."""
        min_wait_s = self.replica.limiter.min_wait_s(self._log.server_clock.stamp_s(now_s))
        return max(min_wait_s, self._rejected_until_s - now_s)

    def start(self, now_s: float) -> Permit:
        """Take a granted permit; call only if `wait_s` is 0."""
        self.used_s = now_s
        return Permit(
            self._granted.popleft(), now_s, 0, 0, has_quota_headers=self.has_quota_headers
        )

    def on_accepted(self) -> None:
        """Record that the server has accepted the token: a log may be begun for its quota."""
        self.is_accepted = True

    def on_lost(self, permit: Permit, now_s: float, *, sent: bool) -> None:
        """Record a request without a response; `sent` if the server may have counted it."""
        self._end_request(RequestLost(permit.number, sent), now_s)

    def on_response(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """Record a response other than a rate-limit rejection."""
        self._end_request(ResponseReceived(permit.number, quota), now_s)

    def on_rejected(
        self, permit: Permit, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """Record a rejection by the server's rate limit."""
        pause_s = retry_after_s if retry_after_s is not None else quota.reset_s or 0.0
        # The replica learns this only from the log, after the call has decided whether to retry.
        self._rejected_until_s = now_s + min(pause_s, LONGEST_WAIT_S)
        if retry_after_s is not None:
            retry_after_s = min(retry_after_s, LONGEST_WAIT_S)  # the log takes no longer one
        self._end_request(RequestRejected(permit.number, quota, retry_after_s), now_s)

    def take_entry(self) -> LogEntry:
        """Return an entry of all unwritten events, which is to be written now."""
        self._serial += 1
        entry = LogEntry(self._log.owner, self._serial, self._unwritten)
        self._unwritten = []
        self._unconfirmed.append(entry)
        return entry

    def advance(self, log: Sequence[tuple[str, LogEntry]], now_s: float) -> bool:
        """Apply the next entries of the log; return False if entries before them are missing."""
        for entry_id, entry in log:
            granted = self.replica.apply_logged(entry_id, entry)
            for event in entry.events:
                if isinstance(event, Snapshot) and event.entry_id != self.replica.checkpoint:
                    return False
            if entry.owner == self._log.owner:
                self._confirm(entry, granted, now_s)
                if self.replica.checkpoint == entry_id:
                    self._emit(snapshot_of(self.replica), now_s)
        # A process that was suspended may read its grants after its lease has ended.
        lease = self.replica.leases.get(self._log.owner)
        kept = () if lease is None else lease.permits
        self._held.difference_update(number for number in self._granted if number not in kept)
        self._granted = deque(number for number in self._granted if number in kept)
        self._hand_out(now_s)
        return True

    def attach(self, replica: Replica, now_s: float) -> None:
        """Follow the log from now on, with a replica that was read from it."""
        self.replica, self.is_attached = replica, True
        ended = tuple(self.unshared)
        self.unshared.clear()
        self._has_no_log = False
        numbers = {event.number for event in ended}
        if self._held or numbers or self._log.owner in replica.leases:
            self._emit(PermitsHeld(sorted(self._held | numbers)), now_s)
        for event in ended:
            # The quota that a response reported then may have been used by others since.
            is_old = isinstance(event, ResponseReceived)
            self._emit(RequestLost(event.number, sent=True) if is_old else event, now_s)
        self._hand_out(now_s)

    def stay_detached(self, now_s: float) -> None:
        """Go on without a log, as there is none, until the server has accepted the token."""
        self.is_active, self._has_no_log, self._attach_wait_until_s = False, True, -inf
        self._hand_out(now_s)

    def detach(self, now_s: float) -> None:
        """Continue without the log; events that were not read back are applied here only."""
        events = [event for entry in self._unconfirmed for event in entry.events]
        events += self._unwritten
        self.is_attached, self._attach_wait_until_s, self._requested = False, -inf, 0
        self._unconfirmed.clear()
        self._unwritten = []
        stamp_s = self._log.server_clock.stamp_s(now_s)
        self.replica.forget_others(self._log.owner, stamp_s)
        self._apply_locally(events, now_s)
        self._hand_out(now_s)

    def renew(self, now_s: float) -> None:
        """Renew the lease if this process holds permits and has not logged anything recently."""
        if self.is_attached and self._held and now_s - self._last_event_s > RENEW_S:
            self._emit(LeaseRenewed(), now_s)

    def leave(self, now_s: float) -> None:
        """Return in the log all permits that this process still holds."""
        if self.is_attached and (self._held or self.has_pending):
            self._emit(PermitsHeld([]), now_s)

    def _activate(self, now_s: float) -> None:
        self.used_s = now_s
        self._attach_wait_until_s = now_s + self._log.activate(self)

    def _waiting(self) -> int:
        calls = self._log.waiting_calls
        return 0 if calls is None else calls.count_sendable(self)

    def _opens_in_s(self, now_s: float) -> float:
        opens_in_s = self.replica.opens_at_s - self._log.server_clock.stamp_s(now_s)
        if self._held and self._has_no_log and not self.is_accepted:
            # Of the requests of other processes for the same token nothing is known yet.
            return max(opens_in_s, self.used_s + _FIRST_ANSWER_S - now_s)
        return opens_in_s

    def _request_permits(self, count: int, now_s: float) -> None:
        if not self.is_attached:
            count = 1  # a further one is granted at once when it is needed
        first, self._number = self._number + 1, self._number + count
        self._requested += count
        self._emit(PermitsRequested(first, count), now_s)

    def _end_request(
        self, event: ResponseReceived | RequestRejected | RequestLost, now_s: float
    ) -> None:
        self._held.discard(event.number)
        if self._has_no_log:
            self.unshared.append(event)
            if self.is_accepted and not self.is_active:
                self._activate(now_s)
        self._emit(event, now_s)

    def _emit(self, event: LogEvent, now_s: float) -> None:
        """Have an event written to the log; while detached, apply it at once."""
        if self.is_attached:
            self._last_event_s = now_s
            self._unwritten.append(event)
            self._log.schedule_write(self)
        else:
            self._apply_locally([event], now_s)

    def _apply_locally(self, events: list[LogEvent], now_s: float) -> None:
        entry = LogEntry(self._log.owner, 0, events)
        granted = self.replica.apply(self._log.server_clock.stamp_s(now_s), entry)
        self._requested = 0
        self._add_granted(granted)

    def _confirm(self, entry: LogEntry, granted: list[int], now_s: float) -> None:
        """Handle an own entry that was read back from the log."""
        if self._unconfirmed and self._unconfirmed[0].serial == entry.serial:
            self._unconfirmed.popleft()
            for event in entry.events:
                if isinstance(event, PermitsRequested):
                    self._requested -= event.count
            self._add_granted(granted)
        else:  # written late, after detaching: its requests were decided without the log
            for number in granted:
                self._end_request(RequestLost(number, sent=False), now_s)

    def _add_granted(self, numbers: list[int]) -> None:
        self._held.update(numbers)
        self._granted.extend(numbers)

    def _hand_out(self, now_s: float) -> None:
        """Let waiting calls take the granted permits, and return the rest."""
        if self._log.waiting_calls is not None:
            self._log.waiting_calls.recheck(self)
        while self._granted:
            self._end_request(RequestLost(self._granted.popleft(), sent=False), now_s)
