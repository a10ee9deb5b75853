"""This client's requests in the server's sliding window, and bounds on the window's length.

The server counts each request at an unknown moment between sending and response. Only bounds are
known: which requests are certainly in the window, and which may be. See `pacing.limiter`.
"""

from collections import deque
from math import floor, inf

import msgspec

DOCUMENTED_WINDOW_S = 60.0

_CLOCK_SLACK = 1.01  # an upper bound up to 1 % below a whole second still means that second
_PRECISION = 0.98  # bounds that are closer together are not tested
_STEP = 1.02  # from a lower bound to the estimate
_BELIEVED_WINDOWS = 8  # for which a lower bound is believed; doubles with each of the first proofs
_MOST_DOUBLINGS = 3
_MAX_HISTORY = 4_000  # requests; enough for a server that sends no quota headers


class Permit(msgspec.Struct, eq=False, gc=False, array_like=True):
    """Admitted request, until its place in the server's window is free again."""

    number: int  # position in the order of admission, from 1
    sent_s: float  # time of admission; the server counts the request at this time or later
    accepted_before: int  # requests accepted up to then, hence counted before this one
    expired_before: int  # `ServerWindow.possibly_expired` at that time
    ended_s: float = inf  # time of the response or failure; the server counted the request by then
    is_accepted: bool = False  # set once the server has accepted the request
    has_quota_headers: bool = False  # whether the server was sending them at admission


class WindowLength(msgspec.Struct, array_like=True):
    """Estimate of the length of the server's window, between a lower and an upper bound.

    The documented length holds until the server's behaviour shows another one. Windows are usually
    whole seconds: where resets are rounded up to them, the estimate is the whole second below the
    upper bound, unless a rejection has shown that to be too short.
    """

    value_s: float = DOCUMENTED_WINDOW_S  # estimate
    is_known: bool = False  # set once the server's behaviour has shown an upper bound
    shortest_s: float = 0.0  # lower bound, by rejections
    _shortest_until_s: float = 0.0  # until then a shorter measurement is not believed
    proofs: int = 0  # rejections so far that corrected the estimate

    @property
    def trial_s(self) -> float:
        """A shorter length to try with one request; the estimate if it is precise."""
        middle_s = (self.shortest_s + self.value_s) / 2
        return middle_s if self.is_known and middle_s < _PRECISION * self.value_s else self.value_s

    def between(self, low_s: float, high_s: float, now_s: float) -> None:
        """Apply bounds that the server's behaviour shows; an estimate between them is kept."""
        if high_s <= self.shortest_s:
            if now_s < self._shortest_until_s:
                return
            self.shortest_s = 0.0
        self.is_known = True
        low_s = max(low_s, self.shortest_s)
        if not low_s <= self.value_s <= high_s:
            whole_s = floor(high_s * _CLOCK_SLACK)
            self.value_s = float(whole_s) if whole_s > low_s else high_s

    def at_least(self, bound_s: float, now_s: float) -> None:
        """Apply a lower bound, which a rejection has proved."""
        if bound_s > self.shortest_s:
            self.shortest_s = bound_s
            believed_windows = _BELIEVED_WINDOWS << min(self.proofs, _MOST_DOUBLINGS)
            self._shortest_until_s = now_s + believed_windows * bound_s
        self.value_s = max(self.value_s, self.shortest_s * _STEP)


class ServerWindow(msgspec.Struct, array_like=True):
    """This client's requests that may be in the server's window, and recently accepted ones."""

    length: WindowLength = msgspec.field(default_factory=WindowLength)
    last_number: int = 0  # number of the request admitted last
    in_flight: int = 0  # requests without a response
    accepted: int = 0  # requests the server has accepted so far
    # Accepted requests that certainly left the window after the latest response of that time, ...
    surely_expired: int = 0
    likely_expired: int = 0  # ... that did if counted halfway between sending and response, ...
    possibly_expired: int = 0  # ... and all requests that have left the window.
    history_size: int = _MAX_HISTORY  # accepted requests to remember; at most twice as many are
    ended: deque[Permit] = msgspec.field(default_factory=deque)  # that may be in the window
    _history: list[Permit] = msgspec.field(default_factory=list)  # accepted, in response order
    observed_s: float = -inf  # time of the latest response; expiries after it are not in its count

    def start(self, now_s: float) -> Permit:
        """Record and return a new request."""
        self.last_number += 1
        self.in_flight += 1
        return Permit(self.last_number, now_s, self.accepted, self.possibly_expired)

    def end(self, permit: Permit, now_s: float, *, is_accepted: bool = False) -> None:
        """Record the end of a request that the server may have counted."""
        self.in_flight -= 1
        permit.ended_s = now_s
        self.ended.append(permit)
        if len(self.ended) > _MAX_HISTORY:
            self.ended.popleft()
        if is_accepted:
            permit.is_accepted = True
            self.accepted += 1
            self._history.append(permit)
            if len(self._history) > 2 * self.history_size:
                del self._history[: -self.history_size]

    def occupied(self, now_s: float) -> int:
        """Return the number of places in the window that this client may occupy."""
        ended, length_s = self.ended, self.length.value_s
        while ended and ended[0].ended_s + length_s <= now_s:
            permit = ended.popleft()
            self.possibly_expired += 1
            likely_s = (permit.sent_s + permit.ended_s) / 2 + length_s
            self.likely_expired += likely_s > self.observed_s
            self.surely_expired += permit.is_accepted and permit.sent_s + length_s > self.observed_s
        return self.in_flight + len(ended)

    @property
    def next_free_s(self) -> float:
        """Time at which the next place is certainly free; inf while all requests are in flight."""
        return self.ended[0].ended_s + self.length.value_s if self.ended else inf

    def last_accepted(self, count: int, before: int) -> Permit | None:
        """Return the `count`-th last of the first `before` accepted requests; None if forgotten."""
        place = before - count - (self.accepted - len(self._history))
        return self._history[place] if place >= 0 and 0 < count <= before else None
