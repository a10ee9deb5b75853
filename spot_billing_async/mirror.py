"""Our own requests in the server's sliding window, and what they show of it. See `pacing`.

The server counted each request at a moment that is not known, between being sent and being
answered. So all that can be said are bounds: what surely is in the window, what may be in it.
"""

from collections import deque
from math import floor, inf

import msgspec

DOCUMENTED_WINDOW_S = 60.0

_CLOCK_SLACK = 1.01  # a bound this close below a whole second still means it
_MOST_KEPT = 20_000  # requests; of a server that never speaks of a quota no more need be known


class Ticket(msgspec.Struct, eq=False):
    """A request that was let through, from then until its place at the server is free again.

    Attributes:
        number: counted from 1, in the order in which requests were let through.
        sent_s: when it was let through; the server counted it then or later.
        beside: how many others were under way then.
        places: own places that may have been taken then, its own included.
        passed: how many requests had been let pass by the server then, and so counted before it.
        counted_s: when it was answered; the server counted it by then. None while it is under way.
        has_passed: the server let it pass.
    """

    number: int
    sent_s: float
    beside: int
    places: int
    passed: int
    counted_s: float | None = None
    has_passed: bool = False


class WindowLength:
    """How long the server's window is, between what bounds it.

    Until something is known it is as documented. Windows are whole seconds as a rule: of all values
    below the upper bound the whole second is taken, unless a refusal has shown it to be too short.

    Attributes:
        value_s: the best guess.
        longest_s: the upper bound.
        is_known: it was bounded from above by what the server did.
    """

    def __init__(self) -> None:
        self.value_s = self.longest_s = DOCUMENTED_WINDOW_S
        self.is_known = False
        self._shortest_s = 0.0

    def at_most(self, bound_s: float) -> None:
        """It is shown to be no longer."""
        self.is_known = self.is_known or bound_s <= self.longest_s * _CLOCK_SLACK
        if bound_s >= self.longest_s:
            return
        self.longest_s = bound_s
        if self._shortest_s >= bound_s:
            self._shortest_s = 0.0  # that took other consumers' requests for ours
        self._choose()

    def is_news(self, bound_s: float) -> bool:
        """Whether such an upper bound tells something new."""
        return bound_s < self.longest_s * (1.0 if self.is_known else _CLOCK_SLACK)

    def at_least(self, bound_s: float) -> None:
        """It seems to be no shorter; an upper bound is the better witness."""
        if self._shortest_s < bound_s < self.longest_s:
            self._shortest_s = bound_s
            self._choose()

    def forget(self) -> None:
        """What was known has turned out to be wrong."""
        self.value_s = self.longest_s = DOCUMENTED_WINDOW_S
        self.is_known, self._shortest_s = False, 0.0

    def _choose(self) -> None:
        whole_s = floor(self.longest_s * _CLOCK_SLACK)
        self.value_s = float(whole_s) if whole_s > self._shortest_s else self.longest_s


class Mirror:
    """Our requests that may be in the window, and those that lately passed.

    Attributes:
        length: of the window.
        last_number: of the request that was let through last.
        under_way: requests that wait for their answers.
        passed: how many the server let pass so far.
    """

    def __init__(self) -> None:
        self.length = WindowLength()
        self.last_number = self.under_way = self.passed = 0
        self._places: deque[Ticket] = deque(maxlen=_MOST_KEPT)
        self._latest: list[Ticket] = []  # of those that passed, in the order of their answers
        self._left = 0  # how many of those that passed have surely left the window

    def start(self, now_s: float) -> Ticket:
        """A request is let through."""
        self.last_number += 1
        places = len(self._places) + 1
        ticket = Ticket(self.last_number, now_s, self.under_way, places, self.passed)
        self.under_way += 1
        self._places.append(ticket)
        return ticket

    def count(self, ticket: Ticket, now_s: float) -> None:
        """It ended in whatever way; the server may have counted it."""
        self.under_way -= 1
        ticket.counted_s = now_s

    def take_back(self, ticket: Ticket) -> None:
        """It was never sent."""
        self.under_way -= 1
        if ticket in self._places:
            self._places.remove(ticket)

    def let_pass(self, ticket: Ticket) -> None:
        """The server has let it pass."""
        ticket.has_passed = True
        self.passed += 1
        self._latest.append(ticket)
        if len(self._latest) > 2 * _MOST_KEPT:
            del self._latest[:_MOST_KEPT]

    def places(self, now_s: float) -> int:
        """How many places in the window may be ours."""
        places, length_s = self._places, self.length.value_s
        # The same sum as in `next_free_s`: rounding must not tell the two apart.
        while (
            places and places[0].counted_s is not None and places[0].counted_s + length_s <= now_s
        ):
            self._left += places.popleft().has_passed
        return len(places)

    def frees_s(self, place: int) -> float:
        """When a place is free again at the earliest, the oldest being 0; -inf for one that is."""
        if place >= len(self._places):
            return -inf
        ticket = self._places[place]
        return (ticket.counted_s or ticket.sent_s) + self.length.value_s

    @property
    def next_free_s(self) -> float:
        """When the oldest place is free again; inf where it is under way, or there is none."""
        is_counted = self._places and self._places[0].counted_s is not None
        return self.frees_s(0) if is_counted else inf

    def oldest_sent_s(self, now_s: float) -> float:
        """When the oldest of those that may be in the window was sent."""
        return self._places[0].sent_s if self._places else now_s

    def passed_since(self, sent_s: float) -> int:
        """How many of those that passed were sent since then."""
        return sum(1 for ticket in self._latest if ticket.sent_s >= sent_s)

    def last_passed(self, count: int, before: int | None = None) -> list[Ticket]:
        """The last so many of (the first `before` of) those that passed; [] where some are lost."""
        end = (self.passed if before is None else before) - (self.passed - len(self._latest))
        return self._latest[end - count : end] if end >= count > 0 else []

    def is_out_by(self, ends_s: float, before: int, count: int) -> None:
        """By `ends_s` the oldest of the last `count` of the first `before` that passed is out.

        Answers overtake each other, so the oldest need not be the first; all are looked at only
        where that may tell something new.
        """
        place = before - count - (self.passed - len(self._latest))
        if place >= 0 and self.length.is_news(ends_s - self._latest[place].sent_s):
            oldest_s = min(ticket.sent_s for ticket in self.last_passed(count, before))
            self.length.at_most(ends_s - oldest_s)

    def bounds(self, ticket: Ticket, now_s: float) -> tuple[int, int]:
        """How many places were ours at least and at most when an answered request was counted."""
        surely = ticket.passed - self._left
        for old in self._places:
            if surely <= 0 or old.sent_s + self.length.value_s > now_s:
                break
            surely -= old.has_passed  # it may have left before that
        return 1 + max(0, surely), ticket.places + self.last_number - ticket.number

    def uncounted(self, ticket: Ticket) -> int:
        """How many of ours may have been counted after an answered request."""
        return ticket.beside + self.last_number - ticket.number
