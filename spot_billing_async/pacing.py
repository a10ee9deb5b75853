"""When the next request may start: pure decisions over plain state, on the caller's clock.

The theory. The server counts the requests of each organization x route x method in a sliding
window: one may pass while fewer than L were counted in the last W seconds. Neither L nor W is
published. A request that comes too early is refused, and delays the reset. So the aim is to send at
the very moment a place becomes free, and never before; each gate works that out for one credential,
route and method.

*The mirror.* A gate keeps its own requests until their places are surely free again: the server
counted each by the time of its answer, so that is at `answered + W`. The places taken are those of
the mirror and those of other consumers; what is left of L is the room.

*Others.* Each answer tells limit and remaining as of the moment when its request was counted. Of
the places taken then, some were surely ours and some may have been, as requests that are under way
at once are counted in any order. So an answer bounds the places of others from both sides, and what
is thought of them is moved only as far as these bounds demand: one request alone tells it exactly,
many at once at least not wrongly. As to what others have done since the last answer, half of the
room is used at once, and the other half when an answer has told.

*The window.* What the server lets pass bounds W from above. Of u places taken, the request before
the last u of ours is out of the window; and where nothing remains and the reset is r seconds away,
the window is at most r and the age of the L-th last of ours long. A refusal bounds it from below.

*Refusals.* One closes the gate for all until the reset. Then one request goes ahead alone; the rest
follows when it is let through. Where no reset is told the pauses double from one try to the next:
in the end they are longer than the window, whatever that is, in which even a refused try may count.

*Without headers* the first refusal tells L: as many as were let through until then. To meet it with
few requests under way, the number of those sent grows by a steady factor in time, from a handful at
the start. After quiet times L is tried a little higher.
"""

from math import floor, inf, log

import msgspec

from spot_billing_async.mirror import Mirror, Ticket
from spot_billing_async.quota import Quota

LONGEST_WAIT_S = 3600.0
FIRST_REQUESTS = 10
"""Sent before anything is known of a server: few are refused where even they are too many."""

_GROWTH = 5.0  # of what was sent to a server that tells nothing, ...
_GROWTH_S = 0.05  # ... in so much time: 10, 50, 250 requests
_FRESH_SHARE = 0.1  # of a window; others may have overtaken an older word
_QUIET_WINDOWS = 10  # without a refusal; then a limit that was guessed is tried a little higher
_HIGHER = 0.05
_MOST_DOUBLINGS = 20


class Gate:
    """Lets the requests of one credential x route x method through.

    Args:
        first_pause_s: the first pause after a refusal that does not say how long to wait.
    """

    def __init__(self, first_pause_s: float = 0.25) -> None:
        self._first_pause_s = first_pause_s
        self._mirror = Mirror()
        self._limit: int | None = None
        self._is_told = False
        self._others = _Others()
        self._first_s = inf  # when the first request was sent
        self._heard_s: float | None = None  # when the last answer came
        self._sent_since = 0
        self._word_room = 0  # what remains by the last answer, but for what was sent since
        self._full_s = -inf  # when an answer said last that nothing remains, ...
        self._reset_s = inf  # ... and the reset that it told
        self._closed_until_s = -inf
        self._refusals = _Refusals()
        self._grows_s = inf  # when a guessed limit is tried higher

    @property
    def is_told(self) -> bool:
        """The server tells its quota in headers."""
        return self._is_told

    @property
    def window_s(self) -> float:
        """The length of the server's window, as far as it is known."""
        return self._mirror.length.value_s

    def wait_s(self, now_s: float) -> float:
        """0.0 where a request may start now; else the seconds after which to look again.

        Infinite where only an answer can change that: one is under way then.
        """
        if now_s < self._closed_until_s:
            return self._closed_until_s - now_s
        if self._room(now_s) >= 1:
            return 0.0
        changes = [self._reset_s, (self._heard_s or inf) + self.window_s, self._mirror.next_free_s]
        if self._heard_s is not None and self._limit is None:
            changes.append(self._next_s)
        later = [change_s for change_s in changes if change_s > now_s]
        return min(later) - now_s if later else inf

    def due_s(self, now_s: float, ahead: int) -> float:
        """Seconds after which a request may start at the earliest, with so many ahead of it."""
        closed_s = max(0.0, self._closed_until_s - now_s)
        mirror, limit = self._mirror, self._limit
        if limit is None or self._refusals.count or not mirror.length.is_known:
            return closed_s
        short = ahead + 1 - (limit - mirror.places(now_s))
        if short <= 0:
            return closed_s
        windows, place = divmod(short - 1, limit)
        free_s = max(now_s, mirror.frees_s(place)) + windows * self.window_s
        return max(closed_s, free_s - now_s)

    def start(self, now_s: float) -> Ticket:
        """Let a request through; only where `wait_s` is 0."""
        self._sent_since += 1
        self._word_room -= 1
        self._first_s = min(self._first_s, now_s)
        return self._mirror.start(now_s)

    def dropped(self, ticket: Ticket, now_s: float, *, sent: bool) -> None:
        """No answer came. The server may have counted it, if it was sent at all."""
        if sent:
            self._mirror.count(ticket, now_s)
        else:
            self._mirror.take_back(ticket)

    def answered(self, ticket: Ticket, now_s: float, quota: Quota) -> None:
        """An answer came that is no refusal."""
        mirror, refusals = self._mirror, self._refusals
        mirror.count(ticket, now_s)
        mirror.let_pass(ticket)
        self._heard_s, self._sent_since = now_s, 0
        if quota.remaining is not None and (quota.limit or self._is_told):
            self._is_told = True
            self._limit = quota.limit or self._limit
        if self._limit is None:
            return
        if not self._is_told:
            self._guess_more(ticket, now_s, self._limit)
        elif quota.remaining is not None:
            self._take(ticket, now_s, self._limit, quota)
        if ticket.number > refusals.last_number:
            refusals.count = 0

    def refused(
        self, ticket: Ticket, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """The server refused the request for its rate.

        Of several refusals the latest reset counts. After an hour at most the gate opens to ask
        again: a client may outlive a proxy's word.
        """
        refusals = self._refusals
        self._mirror.count(ticket, now_s)
        self._heard_s = now_s
        if quota.limit is not None:
            self._is_told, self._limit = True, quota.limit
        # Refusals of what was sent before the first one was met are one and the same event.
        if ticket.number > refusals.last_number:
            refusals.last_number = self._mirror.last_number
            refusals.count += 1
            if refusals.count == 1:
                refusals.first_s = now_s
            if not self._is_told:
                self._guess_less(now_s)
            self._bound_from_below(ticket)
        pause_s = retry_after_s if retry_after_s is not None else quota.reset_s
        if pause_s:
            until_s = now_s + min(pause_s, LONGEST_WAIT_S)
        else:
            pause_s = self._first_pause_s * 2.0 ** min(refusals.count - 1, _MOST_DOUBLINGS)
            until_s = min(refusals.first_s + pause_s, now_s + LONGEST_WAIT_S)
        self._closed_until_s = max(self._closed_until_s, until_s)

    def _room(self, now_s: float) -> int:
        """How many requests may start now."""
        mirror = self._mirror
        if self._refusals.count:
            return 1 - mirror.under_way
        if self._heard_s is None:
            return FIRST_REQUESTS - mirror.under_way
        if self._limit is None:
            return int(now_s >= self._next_s)
        places = mirror.places(now_s)
        room = self._limit - places - self._others.places
        if not mirror.length.is_known:
            room = max(room, self._word_room)  # what is ours in the window is then unknown
        if mirror.under_way:
            is_fresh = now_s - self._heard_s <= _FRESH_SHARE * self.window_s
            return room if is_fresh or not self._is_told or self._sent_since < room else 0
        if places and mirror.length.is_known:
            return room
        # By the server's word, or as all that was seen of others has left, one may go and ask.
        asks_s = min(self._reset_s, self._heard_s + self.window_s)
        return max(room, 1) if now_s >= asks_s else room

    @property
    def _next_s(self) -> float:
        """When the next request may go to a server that tells nothing."""
        more = (self._mirror.last_number + 1) / FIRST_REQUESTS
        return self._first_s + _GROWTH_S * log(more, _GROWTH)

    def _take(self, ticket: Ticket, now_s: float, limit: int, quota: Quota) -> None:
        """Take the word of an answer on how many places were taken when it was counted."""
        mirror, used = self._mirror, limit - min(quota.remaining or 0, limit)
        if used == limit:
            self._note_full(ticket, now_s, quota.reset_s)
        before = mirror.places(now_s)
        mirror.is_out_by(now_s, ticket.passed, used + 1)
        if not mirror.length.is_known and ticket.sent_s <= self._full_s:
            mirror.is_out_by(self._reset_s, mirror.passed, limit)
        # Places that a shorter window shows not to be ours are those of others.
        more = before - mirror.places(now_s)
        surely_ours, maybe_ours = mirror.bounds(ticket, now_s)
        least, most = max(0, used - maybe_ours), max(0, used - surely_ours)
        if ticket.number > self._others.number:
            self._word_room = limit - used - mirror.uncounted(ticket)
        self._others.hold(ticket.number, least, most, more)

    def _note_full(self, ticket: Ticket, now_s: float, reset_s: float | None) -> None:
        """Nothing remains until the reset."""
        self._full_s = now_s
        self._reset_s = now_s + (reset_s or self._first_pause_s)
        # Whole seconds are rounded up: within the last of them the mirror knows better.
        sure_s = (reset_s or 0.0) - (reset_s == floor(reset_s or 0.0))
        self._closed_until_s = max(self._closed_until_s, ticket.sent_s + sure_s)

    def _bound_from_below(self, ticket: Ticket) -> None:
        """Had the L-th last of ours left the window, this one had not been refused."""
        length = self._mirror.length
        last = self._mirror.last_passed(self._limit or 0)
        if not last or last[0].counted_s is None:
            return
        bound_s = ticket.sent_s - last[0].counted_s
        if bound_s >= length.longest_s and not self._is_told:
            length.forget()  # it was others that left: learn it anew
        length.at_least(bound_s)

    def _guess_less(self, now_s: float) -> None:
        """Without a word of it, the limit is what passed within the window before a refusal."""
        if self._refusals.count == 1:
            self._mirror.places(now_s)
            met = self._mirror.passed_since(self._mirror.oldest_sent_s(now_s))
            known = self._limit
            self._limit = max(1, met if known is None else max(min(met, known), known // 2))
        self._grows_s = now_s + _QUIET_WINDOWS * self.window_s

    def _guess_more(self, ticket: Ticket, now_s: float, limit: int) -> None:
        """Without a word of it, what passes shows how long the window is, and how much it holds."""
        mirror, refusals = self._mirror, self._refusals
        if refusals.count and ticket.number <= refusals.last_number:
            self._limit = limit + 1  # it had passed before that refusal, and is known only now
            return
        oldest_s = mirror.oldest_sent_s(now_s)
        if refusals.count and oldest_s <= refusals.first_s:
            # The window was full of ours then, so the first of them has left it.
            mirror.length.at_most(now_s - oldest_s)
        # Of those that were counted before, not all that the window holds can still be in it.
        mirror.is_out_by(now_s, ticket.passed, limit)
        if now_s >= self._grows_s:
            self._limit = limit + max(1, int(limit * _HIGHER))
            self._grows_s = now_s + self.window_s


class _Others(msgspec.Struct):
    """Other consumers of the same quota.

    Attributes:
        thought: how many places they are thought to take; None before any word of it.
        least: how many they took at least by the word of the request that was sent last, ...
        number: ... which was this one.
    """

    thought: int | None = None
    least: int = 0
    number: int = 0

    @property
    def places(self) -> int:
        """How many places they are thought to take."""
        return self.thought or 0

    def hold(self, number: int, least: int, most: int, more: int) -> None:
        """Move what is thought between the bounds of an answer, `more` than before at first."""
        if number >= self.number:
            self.number, self.least = number, least
        # The word of an earlier request may be that of an earlier time.
        most = max(most, self.least)
        thought = most if self.thought is None else self.thought + more
        self.thought = max(least, min(thought, most))


class _Refusals(msgspec.Struct):
    """Refusals in a row.

    Attributes:
        count: how many, those of requests that were under way together being one.
        first_s: when the first of them came.
        last_number: of the request that was let through last when the last of them came.
    """

    count: int = 0
    first_s: float = 0.0
    last_number: int = 0
