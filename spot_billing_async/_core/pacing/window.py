"""Our own requests in the server's sliding window, and what they show of its length. See `pacing`.

The server counted each request at a moment that is not known, between being sent and being
answered. So all that can be said are bounds: what surely is in the window, what may be in it.
"""

from collections import deque
from math import floor, inf

import msgspec

DOCUMENTED_WINDOW_S = 60.0

_CLOCK_SLACK = 1.01  # a bound this close below a whole second still means it
_MOST_KEPT = 4_000  # requests; of a server that tells no quota no more need be known


class Permit(msgspec.Struct, eq=False, gc=False, array_like=True):
    """A request that was admitted, from then until its place at the server is free again.

    Attributes:
        number: counted from 1, in the order in which requests were admitted.
        sent_s: when it was admitted; the server counted it then or later.
        passed: how many requests had passed then, and so were counted before it.
        left: `ServerWindow.left_perhaps` then.
        ended_s: when its answer came, or when it came to nothing; the server counted it by then.
        has_passed: the server let it pass.
        is_told: the server told its quota then.
    """

    number: int
    sent_s: float
    passed: int
    left: int
    ended_s: float = inf
    has_passed: bool = False
    is_told: bool = False


class WindowLength(msgspec.Struct, array_like=True):
    """How long the server's window is, between what bounds it.

    Until something is known it is as documented. Windows are whole seconds as a rule: of all values
    below the upper bound the whole second is taken, unless a refusal has shown it to be too short.

    Attributes:
        value_s: the best guess.
        longest_s: the upper bound.
        is_known: it was bounded from above by what the server did.
    """

    value_s: float = DOCUMENTED_WINDOW_S
    longest_s: float = DOCUMENTED_WINDOW_S
    is_known: bool = False
    _shortest_s: float = 0.0

    def is_news(self, bound_s: float) -> bool:
        """Whether such an upper bound tells something new."""
        return bound_s < self.longest_s * (1.0 if self.is_known else _CLOCK_SLACK)

    def at_most(self, bound_s: float) -> None:
        """It is shown to be no longer."""
        self.is_known = self.is_known or bound_s <= self.longest_s * _CLOCK_SLACK
        if bound_s >= self.longest_s:
            return
        self.longest_s = bound_s
        if self._shortest_s >= bound_s:
            self._shortest_s = 0.0  # that took other consumers' requests for ours
        self._choose()

    def at_least(self, bound_s: float) -> None:
        """It seems to be no shorter; an upper bound is the better witness."""
        if self._shortest_s < bound_s < self.longest_s:
            self._shortest_s = bound_s
            self._choose()

    def _choose(self) -> None:
        whole_s = floor(self.longest_s * _CLOCK_SLACK)
        self.value_s = float(whole_s) if whole_s > self._shortest_s else self.longest_s


class ServerWindow(msgspec.Struct, array_like=True):
    """Our requests that may be in the window, and those that lately passed.

    Attributes:
        length: of the window.
        last_number: of the request that was admitted last.
        under_way: requests that wait for their answers.
        passed: how many the server let pass so far.
        left: how many of those surely left the window after the last answer before that came.
        left_likely: how many likely did, counted in the middle between being sent and answered.
        left_perhaps: how many left it at all.
        most_kept: so many of those that passed are remembered at least, twice as many at most.
    """

    length: WindowLength = msgspec.field(default_factory=WindowLength)
    last_number: int = 0
    under_way: int = 0
    passed: int = 0
    left: int = 0
    left_likely: int = 0
    left_perhaps: int = 0
    most_kept: int = _MOST_KEPT
    _ended: deque[Permit] = msgspec.field(default_factory=deque)
    _latest: list[Permit] = msgspec.field(default_factory=list)  # in the order of their answers
    _heard_s: float = -inf

    def start(self, now_s: float) -> Permit:
        """A request is admitted."""
        self.last_number += 1
        self.under_way += 1
        return Permit(self.last_number, now_s, self.passed, self.left_perhaps)

    def end(self, permit: Permit, now_s: float) -> None:
        """It ended in whatever way; the server may have counted it."""
        self.under_way -= 1
        permit.ended_s = now_s
        self._ended.append(permit)
        if len(self._ended) > _MOST_KEPT:
            self._ended.popleft()

    def take_back(self) -> None:
        """One was never sent."""
        self.under_way -= 1

    def hear(self, now_s: float) -> None:
        """An answer came: what leaves from now on leaves after it."""
        self._heard_s = now_s

    def let_pass(self, permit: Permit) -> None:
        """The server has let it pass."""
        permit.has_passed = True
        self.passed += 1
        self._latest.append(permit)
        if len(self._latest) > 2 * self.most_kept:
            del self._latest[: -self.most_kept]

    def places(self, now_s: float) -> int:
        """How many places in the window may be ours."""
        while self.next_free_s <= now_s:
            permit = self._ended.popleft()
            self.left_perhaps += 1
            likely_s = (permit.sent_s + permit.ended_s) / 2 + self.length.value_s
            self.left_likely += likely_s > self._heard_s
            self.left += permit.has_passed and permit.sent_s + self.length.value_s > self._heard_s
        return self.under_way + len(self._ended)

    def most_places(self, permit: Permit, now_s: float) -> int:
        """How many places may have been ours when an answered request was counted."""
        return self.places(now_s) + self.left_perhaps - permit.left

    @property
    def next_free_s(self) -> float:
        """When the next place is surely free again; inf where all are under way."""
        return self._ended[0].ended_s + self.length.value_s if self._ended else inf

    def oldest_sent_s(self) -> float:
        """When the first of those that ended and may be in the window was sent; inf for none."""
        return min((permit.sent_s for permit in self._ended), default=inf)

    def passed_inside(self) -> int:
        """How many of those that passed may be in the window."""
        return sum(permit.has_passed for permit in self._ended)

    def last_passed(self, count: int, before: int) -> list[Permit]:
        """The last so many of the first `before` of those that passed; [] where some are lost."""
        end = before - (self.passed - len(self._latest))
        return self._latest[end - count : end] if end >= count > 0 else []

    def bound_length(self, ends_s: float, before: int, count: int) -> None:
        """By `ends_s` the oldest of the last `count` of the first `before` that passed is out.

        Answers overtake each other, so the oldest need not be the first; all are looked at only
        where that may tell something new.
        """
        place = before - count - (self.passed - len(self._latest))
        if place >= 0 and self.length.is_news(ends_s - self._latest[place].sent_s):
            oldest_s = min(permit.sent_s for permit in self.last_passed(count, before))
            self.length.at_most(ends_s - oldest_s)
