"""A gate that all processes share: this one's replica of it, and what it has told the log.

It is *apart* where the log is not to be had. Then what it would have told is applied to its replica
at once, at the time that the log's clock is likely to show. So there is one way to decide, with
others and without.
"""

import random
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Protocol

from spot_billing_async._core.pacing.abc import WaitingCalls as Line
from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota, RateLimit
from spot_billing_async.redis.replica import (
    RENEW_S,
    Answered,
    Asked,
    Dropped,
    Entry,
    Event,
    Joined,
    Refused,
    Renewed,
    Replica,
    State,
    state_of,
)
from spot_billing_async.redis.server_clock import ServerClock

_SHORTEST_WAIT_S = 0.001  # the grain of the log's stamps
_SPREAD_S = 0.001  # for each process: else all would ask at once for the place that one can have


class Log(Protocol):
    """What a gate needs of the log that it shares.

    Attributes:
        owner: what this process is called there.
        server_clock: tells the log's time.
        line: the calls that wait here; None where none can.
    """

    owner: str
    server_clock: ServerClock
    line: Line | None

    def told(self, limiter: "SharedLimiter") -> None:
        """A gate has something to tell."""
        ...

    def needed(self, limiter: "SharedLimiter") -> float:
        """A gate is to take part; seconds for which it may wait for that."""
        ...


class SharedLimiter:
    """Admits requests of this process beside those of others; a `sharing.Limiter`.

    Args:
        key: of its log.
        log: where it tells what happens.

    Attributes:
        replica: the gate as all have it.
        is_joined: its replica follows the log; else it is apart.
        is_active: it takes part, or tries to.
    """

    def __init__(self, key: str, log: Log) -> None:
        self.key = key
        self.replica = Replica()
        self.is_joined = self.is_active = False
        self._log = log
        self._waits_until_s = -inf  # for being joined
        self._refused_until_s = -inf
        self._serial = self._number = 0
        self._under_way: set[int] = set()
        self._granted: deque[int] = deque()  # those of them that nobody has taken yet
        self._asked = 0
        self._untold: list[Event] = []
        self._flying: deque[Entry] = deque()
        self._used_s = self._told_s = -inf

    @property
    def has_quota_headers(self) -> bool:
        """The server tells its quota in headers."""
        return self.replica.limiter.has_quota_headers

    @property
    def rate_limit(self) -> RateLimit | None:
        """The server's limit; None where nothing shows that there is one."""
        return self.replica.limiter.rate_limit

    @property
    def is_flying(self) -> bool:
        """Something was written that has not come back from the log."""
        return bool(self._flying)

    @property
    def is_behind(self) -> bool:
        """It told something that has not come back from the log."""
        return bool(self._flying or self._untold)

    def is_idle(self, now_s: float, for_s: float) -> bool:
        """Whether nothing was asked of it for so many seconds."""
        is_used = self._under_way or self.is_behind or self._waiting()
        return not is_used and now_s - self._used_s > for_s

    def wait_s(self, now_s: float) -> float:
        """0.0 where a request may start now; else the seconds after which to look again."""
        if self._granted:
            return 0.0
        waiting = self._waiting()
        if waiting and not self.is_active:
            self._used_s, self._waits_until_s = now_s, now_s + self._log.needed(self)
        if not self.is_joined and now_s < self._waits_until_s:
            return self._waits_until_s - now_s
        wait_s = self._opens_in_s(now_s)
        if wait_s > 0:
            return wait_s + self._spread_s()
        if waiting > self._asked:
            self._ask(waiting - self._asked, now_s)
        if self._granted:
            return 0.0
        if self.is_joined or not waiting:
            return inf  # the log is going to say, or nobody asks
        return max(self._opens_in_s(now_s), _SHORTEST_WAIT_S)

    def min_wait_s(self, now_s: float) -> float:
        """Seconds after which a request may start at the earliest."""
        due_s = self.replica.limiter.min_wait_s(self._log.server_clock.stamp_s(now_s))
        return max(due_s, self._refused_until_s - now_s)

    def start(self, now_s: float) -> Permit:
        """Take a place that was granted; only where `wait_s` is 0."""
        self._used_s = now_s
        return Permit(self._granted.popleft(), now_s, 0, 0, has_quota_headers=self.has_quota_headers)

    def on_lost(self, permit: Permit, now_s: float, *, sent: bool) -> None:
        """No answer came; `sent` where the server may have counted it."""
        self._end(Dropped(permit.number, sent), now_s)

    def on_response(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """An answer came that is no refusal."""
        self._end(Answered(permit.number, quota), now_s)

    def on_rejected(
        self, permit: Permit, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """The server refused the request for its rate."""
        pause_s = retry_after_s if retry_after_s is not None else quota.reset_s or 0.0
        # The log says so too, but a little later than the call decides what to do.
        self._refused_until_s = now_s + min(pause_s, LONGEST_WAIT_S)
        self._end(Refused(permit.number, quota, retry_after_s), now_s)

    def take(self) -> Entry:
        """What is to be written to the log now."""
        self._serial += 1
        entry = Entry(self._log.owner, self._serial, self._untold)
        self._untold = []
        self._flying.append(entry)
        return entry

    def advance(self, log: Sequence[tuple[str, Entry]], now_s: float) -> bool:
        """Read on in the log; False where something is missing in it."""
        for entry_id, entry in log:
            granted = self.replica.read(entry_id, entry)
            if any(isinstance(e, State) and e.at != self.replica.checkpoint for e in entry.events):
                return False
            if entry.owner == self._log.owner:
                self._came_back(entry, granted, now_s)
                if self.replica.checkpoint == entry_id:
                    self._tell(state_of(self.replica), now_s)
        self._forget_lost_places()
        self._settle(now_s)
        return True

    def join(self, replica: Replica, now_s: float) -> None:
        """Take part from now on, with a replica that was read from the log."""
        self.replica, self.is_joined = replica, True
        if self._under_way or self._log.owner in replica.held:
            self._tell(Joined(sorted(self._under_way)), now_s)
        self._settle(now_s)

    def go_apart(self, now_s: float) -> None:
        """Go on without the log; what was told and did not come back is applied here alone."""
        events = [event for entry in self._flying for event in entry.events] + self._untold
        self.is_joined, self._waits_until_s, self._asked = False, -inf, 0
        self._flying.clear()
        self._untold = []
        stamp_s = self._log.server_clock.stamp_s(now_s)
        self.replica.forget_others(self._log.owner, stamp_s)
        self._apply(events, now_s)
        self._settle(now_s)

    def renew(self, now_s: float) -> None:
        """Let itself be heard of, where it holds something and has nothing else to tell."""
        if self.is_joined and self._under_way and now_s - self._told_s > RENEW_S:
            self._tell(Renewed(), now_s)

    def leave(self, now_s: float) -> None:
        """Give back in the log what this process still holds."""
        if self.is_joined and (self._under_way or self.is_behind):
            self._tell(Joined([]), now_s)

    def _waiting(self) -> int:
        return 0 if self._log.line is None else self._log.line.count_sendable(self)

    def _opens_in_s(self, now_s: float) -> float:
        return self.replica.opens_at_s - self._log.server_clock.stamp_s(now_s)

    def _spread_s(self) -> float:
        others = len(self.replica.held.keys() - {self._log.owner}) if self.is_joined else 0
        return random.uniform(0, others * _SPREAD_S)  # noqa: S311  no secret

    def _ask(self, count: int, now_s: float) -> None:
        if not self.is_joined:
            count = 1  # the next one is granted as easily when it is wanted
        first, self._number = self._number + 1, self._number + count
        self._asked += count
        self._tell(Asked(first, count), now_s)

    def _end(self, event: Answered | Refused | Dropped, now_s: float) -> None:
        self._under_way.discard(event.number)
        self._tell(event, now_s)

    def _tell(self, event: Event, now_s: float) -> None:
        if self.is_joined:
            self._told_s = now_s
            self._untold.append(event)
            self._log.told(self)
        else:
            self._apply([event], now_s)

    def _apply(self, events: list[Event], now_s: float) -> None:
        """Decide here alone what would have been told."""
        entry = Entry(self._log.owner, 0, events)
        granted = self.replica.apply(self._log.server_clock.stamp_s(now_s), entry)
        self._asked = 0
        self._take_places(granted)

    def _came_back(self, entry: Entry, granted: list[int], now_s: float) -> None:
        if self._flying and self._flying[0].serial == entry.serial:
            self._flying.popleft()
            self._asked -= _asked(entry.events)
            self._take_places(granted)
        else:  # it was given up for lost, and what it asked for with it
            for number in granted:
                self._end(Dropped(number, sent=False), now_s)

    def _take_places(self, numbers: list[int]) -> None:
        self._under_way.update(numbers)
        self._granted.extend(numbers)

    def _forget_lost_places(self) -> None:
        """A process that was stopped reads of its places after its lease on them has ended."""
        holder = self.replica.held.get(self._log.owner)
        kept = () if holder is None else holder.permits
        self._under_way.difference_update(number for number in self._granted if number not in kept)
        self._granted = deque(number for number in self._granted if number in kept)

    def _settle(self, now_s: float) -> None:
        """Let those go who may now, and give back the places that nobody takes."""
        if self._log.line is not None:
            self._log.line.recheck(self)
        while self._granted:
            self._end(Dropped(self._granted.popleft(), sent=False), now_s)


def _asked(events: list[Event]) -> int:
    return sum(event.count for event in events if isinstance(event, Asked))
