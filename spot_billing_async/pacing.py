"""When the next request may start: pure decisions over plain state, on the caller's clock.

The theory. The server counts the requests of each organization x route x method in a sliding
window: one may pass while fewer than L were counted in the last W seconds. Neither L nor W is
published. A request that comes too early is refused, and delays the reset. So the aim is to send at
the very moment a place becomes free, and never before; each gate works that out for one credential,
route and method.

*The mirror.* A gate keeps the times of its own requests. The server counted each between being sent
and being answered, so at `answered + W` at the latest its place is free again. The places taken are
those of the mirror and those of other consumers; what is left of L is the room.

*The word.* Answers carry limit, remaining and reset, as of the moment when their request was
counted. They come out of order; the one whose request was sent last is the freshest, and counts.
It tells how many places the others take: L - remaining - own requests sent until then. For two
windows after others were seen their places are kept free, as who comes in bursts comes again; and
after a pause one request goes ahead alone to ask, before the rest follows.

*The window.* W is bounded from above by what the server says: of u places taken, the request before
the last u of ours is out of the window; and where nothing remains and the reset is r seconds away,
the window is at most r and the age of the L-th last of ours long. Resets are whole seconds, rounded
up, and so are windows: of all values below the bound the whole second is taken, unless a refusal
has shown that it is too short. Until a bound is known, W is 60 s, as documented.

*Refusals.* One closes the gate for all until the reset. Then one request goes ahead alone; the rest
follows when it is let through. Without headers the pauses double from one try to the next, and the
first refusal tells L: as many as were let through until then. L grows again after quiet times.

Until the first answer came, only a handful may be under way: nothing is known yet.
"""

from collections import deque
from math import floor, inf

import msgspec

from spot_billing_async.quota import Quota

DOCUMENTED_WINDOW_S = 60.0
LONGEST_WAIT_S = 3600.0
FIRST_REQUESTS = 16
"""Sent before anything is known of a server: two rounds of it fill most, and few refuse so few."""

_MOST_KEPT = 20_000  # requests; of a server that never speaks of a quota no more need be known
_CLOCK_SLACK = 1.01  # a bound this close below a whole second still means it
_FRESH_SHARE = 0.1  # of a window; an older word may have been overtaken by others' requests
_QUIET_WINDOWS = 10  # without a refusal; then a limit that was guessed is tried a little higher
_GROWTH = 0.05


class Ticket(msgspec.Struct, eq=False):
    """A request that was let through, from then until its place at the server is free again.

    Attributes:
        number: counted from 1, in the order in which requests were let through.
        sent_s: when it was let through; the server counted it then or later.
        places: own places taken then, its own included.
        passed: how many requests had been let pass by the server then, and so counted before it.
        counted_s: when it was answered; the server counted it by then. None while it is under way.
    """

    number: int
    sent_s: float
    places: int
    passed: int
    counted_s: float | None = None


class Gate:
    """Lets the requests of one credential x route x method through.

    Args:
        first_pause_s: the first pause after a refusal that does not say how long to wait.
    """

    def __init__(self, first_pause_s: float = 0.25) -> None:
        self._first_pause_s = first_pause_s
        self._mirror: deque[Ticket] = deque(maxlen=_MOST_KEPT)
        self._passed: list[Ticket] = []
        self._forgotten = 0
        self._last_number = 0
        self._under_way = 0
        self._heard = False
        self._limit: int | None = None
        self._told = False
        self._shortest_s = 0.0
        self._longest_s: float | None = None
        self._word_number = 0
        self._word_s = -inf
        self._remaining = 0
        self._others = 0
        self._awaits_reset = False
        self._kept_free = 0
        self._kept_until_s = -inf
        self._closed_until_s = -inf
        self._refusals = 0
        self._refused_s = 0.0
        self._refused_number = 0
        self._grow_at_s = inf

    @property
    def is_told(self) -> bool:
        """The server tells its quota in headers."""
        return self._told

    @property
    def window_s(self) -> float:
        """The length of the server's window, as far as it is known."""
        longest_s = self._longest_s
        if longest_s is None:
            return DOCUMENTED_WINDOW_S
        whole_s = floor(longest_s * _CLOCK_SLACK)
        return float(whole_s) if whole_s > self._shortest_s else longest_s

    def wait_s(self, now_s: float) -> float:
        """0.0 where a request may start now; else the seconds after which to look again.

        Infinite where only an answer can change that: one is under way then.
        """
        if now_s < self._closed_until_s:
            return self._closed_until_s - now_s
        if self._room(now_s) >= 1:
            return 0.0
        changes = [self._word_s + self.window_s, self._kept_until_s]
        if self._mirror and self._mirror[0].counted_s is not None:
            changes.append(self._mirror[0].counted_s + self.window_s)
        later = [change_s for change_s in changes if change_s > now_s]
        return min(later) - now_s if later else inf

    def due_s(self, now_s: float, ahead: int) -> float:
        """Seconds after which a request may start at the earliest, with so many ahead of it."""
        closed_s = max(0.0, self._closed_until_s - now_s)
        if self._limit is None or not self._is_mirrored or self._refusals:
            return closed_s
        short = ahead + 1 - self._room(now_s)
        if short <= 0:
            return closed_s
        windows, place = divmod(int(short) - 1, self._limit)
        leaves_s = now_s
        if place < len(self._mirror):
            leaves_s = self._leaves_s(place)
        return max(closed_s, leaves_s - now_s + windows * self.window_s)

    def start(self, now_s: float) -> Ticket:
        """Let a request through; only where `wait_s` is 0."""
        self._last_number += 1
        self._under_way += 1
        passed = self._forgotten + len(self._passed)
        ticket = Ticket(self._last_number, now_s, len(self._mirror) + 1, passed)
        self._mirror.append(ticket)
        return ticket

    def dropped(self, ticket: Ticket, now_s: float, *, sent: bool) -> None:
        """No answer came. The server may have counted it, if it was sent at all."""
        self._under_way -= 1
        ticket.counted_s = now_s if sent else -inf

    def answered(self, ticket: Ticket, now_s: float, quota: Quota) -> None:
        """An answer came that is no refusal."""
        self._under_way -= 1
        self._heard = True
        self._refusals = 0
        ticket.counted_s = now_s
        self._passed.append(ticket)
        if len(self._passed) > 2 * _MOST_KEPT:
            del self._passed[:_MOST_KEPT]
            self._forgotten += _MOST_KEPT
        if ticket.number > self._word_number:
            self._take(ticket, now_s, quota)
        if not self._told and now_s >= self._grow_at_s and self._limit is not None:
            self._limit += max(1, int(self._limit * _GROWTH))
            self._grow_at_s = now_s + self.window_s

    def refused(
        self, ticket: Ticket, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """The server refused the request for its rate.

        Of several refusals the latest reset counts. After an hour at most the gate opens to ask
        again: a client may outlive a proxy's word.
        """
        self._under_way -= 1
        self._heard = True
        ticket.counted_s = now_s
        if quota.limit is not None:
            self._told, self._limit = True, quota.limit
        # Refusals of what was sent before the first one was met are one and the same event.
        if ticket.number > self._refused_number:
            self._learn_from_refusal(ticket, now_s)
        pause_s = retry_after_s if retry_after_s is not None else quota.reset_s
        if pause_s:
            until_s = now_s + min(pause_s, LONGEST_WAIT_S)
        else:
            pause_s = self._first_pause_s * 2.0 ** min(self._refusals - 1, 20)
            until_s = min(self._refused_s + pause_s, now_s + DOCUMENTED_WINDOW_S)
        self._closed_until_s = max(self._closed_until_s, until_s)

    def _learn_from_refusal(self, ticket: Ticket, now_s: float) -> None:
        self._refused_number = self._last_number
        self._refusals += 1
        if self._refusals == 1:
            self._refused_s = now_s
        if not self._told:
            self._prune(now_s)
            if self._refusals == 1:
                oldest_s = self._mirror[0].sent_s if self._mirror else now_s
                met = sum(1 for passed in self._passed if passed.sent_s >= oldest_s)
                self._limit = max(1, met if self._limit is None else min(met, self._limit))
            self._grow_at_s = now_s + _QUIET_WINDOWS * self.window_s
        if self._limit is not None and len(self._passed) >= self._limit:
            counted_s = self._passed[-self._limit].counted_s or 0.0
            shortest_s = ticket.sent_s - counted_s
            if self._longest_s is None or shortest_s < self._longest_s:
                self._shortest_s = max(self._shortest_s, shortest_s)

    def _take(self, ticket: Ticket, now_s: float, quota: Quota) -> None:
        """Take the word of the answer to the request that was sent last."""
        self._word_number, self._word_s = ticket.number, now_s
        if quota.remaining is not None and (quota.limit or self._told):
            self._told = True
            self._limit = quota.limit or self._limit
        limit = self._limit
        if limit is None:
            return
        remaining = min(quota.remaining, limit) if quota.remaining is not None else None
        used = limit - remaining if remaining is not None else limit
        # Of those that were surely counted before, the last `used` and one more are one too many.
        before = ticket.passed - self._forgotten
        self._bound_window(now_s, before, used + 1)
        if remaining is None:
            return
        if remaining == 0 and quota.reset_s:
            slack_s = now_s - ticket.sent_s
            self._bound_window(now_s + quota.reset_s + slack_s, len(self._passed), limit)
        self._remaining = remaining
        self._others = max(0, limit - remaining - ticket.places)
        self._awaits_reset = remaining == 0 and bool(quota.reset_s)
        if ticket.number == self._last_number:
            self._keep_free(now_s)
        if self._awaits_reset:
            self._close_until_reset(now_s, quota.reset_s or 0.0)

    def _keep_free(self, now_s: float) -> None:
        """Nothing was sent after this word's request, so it is exact: remember the others."""
        if self._others >= self._kept_free or now_s >= self._kept_until_s:
            self._kept_free = self._others
            self._kept_until_s = now_s + 2 * self.window_s if self._others else -inf

    def _close_until_reset(self, now_s: float, reset_s: float) -> None:
        """Whole seconds are rounded up: within the last of them the mirror knows better."""
        latest_s = now_s + reset_s
        earliest_s = latest_s - 1.0 if reset_s == floor(reset_s) else latest_s
        expected_s = latest_s
        if self._longest_s is not None and self._limit is not None:
            place = len(self._mirror) + self._others - self._limit
            if 0 <= place < len(self._mirror):
                expected_s = self._leaves_s(place)
        opens_s = min(max(expected_s, earliest_s), latest_s)
        self._closed_until_s = max(self._closed_until_s, opens_s)

    def _leaves_s(self, place: int) -> float:
        """When a place in the mirror is free again, at the earliest while it is under way."""
        ticket = self._mirror[place]
        return (ticket.counted_s or ticket.sent_s) + self.window_s

    def _bound_window(self, ends_s: float, before: int, count: int) -> None:
        """The window is shorter than from the oldest of some requests to `ends_s`.

        They are the last `count` of the first `before` that passed. Answers overtake each other, so
        the oldest need not be the first; all are looked at only where that may tell something new.
        """
        first = before - count
        longest_s = self._longest_s
        if first < 0 or (
            longest_s is not None and ends_s - self._passed[first].sent_s >= longest_s
        ):
            return
        bound_s = ends_s - min(ticket.sent_s for ticket in self._passed[first:before])
        if longest_s is None or bound_s < longest_s:
            self._longest_s = bound_s
            if self._shortest_s >= bound_s:
                self._shortest_s = 0.0  # it took other consumers' requests for ours

    @property
    def _is_mirrored(self) -> bool:
        """Limit and window are known well enough to count places."""
        return self._told or self._longest_s is not None

    def _room(self, now_s: float) -> float:
        """How many requests may start now."""
        self._prune(now_s)
        if self._refusals:
            return 1 - self._under_way
        if not self._heard:
            return FIRST_REQUESTS - self._under_way
        if self._limit is None or not self._is_mirrored:
            return inf
        window_s = self.window_s
        others = self._others if now_s < self._word_s + window_s else 0
        keeps_free = self._longest_s is not None and now_s < self._kept_until_s
        if keeps_free:
            others = max(others, min(self._kept_free, self._limit - 1))
        room = self._limit - len(self._mirror) - others
        if self._longest_s is None:  # when places become free is unknown: there is only the word
            by_word = self._remaining - (self._last_number - self._word_number)
            # Of requests under way some may not have been counted when the word was spoken.
            room = min(by_word, room) if self._under_way else by_word
        if self._awaits_reset and not self._under_way:
            return max(room, 1)  # the reset has passed: by the server's word one may go
        if keeps_free and now_s - self._word_s > _FRESH_SHARE * window_s:
            return min(room, 1 - self._under_way)
        return room

    def _prune(self, now_s: float) -> None:
        """Forget the requests whose places are free again."""
        mirror, window_s = self._mirror, self.window_s
        # The same sum as in `wait_s`: rounding must not tell the two apart.
        while (
            mirror and mirror[0].counted_s is not None and mirror[0].counted_s + window_s <= now_s
        ):
            mirror.popleft()
