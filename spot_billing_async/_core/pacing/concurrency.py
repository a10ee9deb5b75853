"""Adaptive limit on concurrent requests to a server that reports no quota: a pure controller.

Theory. A server works on N requests at once. Further requests queue there and take longer; far
beyond N they are rejected. N is not published. With k > N requests in flight, each takes k/N times
as long as with N, so the ratio of the shortest response time to the present one is the share of the
requests in flight that the server is working on. The limit is set to that number, times a gain
above 1 so that the server never runs dry and additional capacity is noticed:
`limit * base / mean * gain`. Below capacity the ratio is 1 and the limit grows by the gain each
round. Above capacity it settles where a request takes `gain` times the base.

A round consists of as many responses as the limit, and at least twenty. Only requests sent within
the round count: earlier ones met a different queue, and few responses say little where queries
differ in size. One round in twelve is smaller and leaves no queue; the base is the mean time of the
latest such rounds. Before there is one, the base is the mean time of the first round. If its times
are close together, nothing was queued, and the next round is four times as large, as servers reject
requests only far beyond N. Otherwise the fastest fifth is taken as the base. A rejection for
overload halves the limit.

This is a gradient controller. Additive increase with multiplicative decrease, which
`benchmarks.claims.capacity` measures beside it, finds the limit only through rejections.
"""

from collections import deque
from math import inf
from statistics import fmean, quantiles

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS

_FIRST_GAIN = 4.0
_GAIN = 1.5
_DRAINING_GAIN = 0.8
_ROUNDS = 12  # from one round that drains the queue to the next
_BASES = 3  # draining rounds that the base is the mean of
_MIN_RESPONSES = 20  # in a round
_MIN_TIME_S = 0.01  # shorter times reflect this process more than the server
_EVEN_SHARE = 0.75  # if the fastest fifth took a smaller share of the mean, the others had queued


class ConcurrencyLimit:
    """Limit on the requests in flight to one server, at most `maximum`, and their number."""

    def __init__(self, maximum: int) -> None:
        self.maximum: int = maximum
        self.limit: int = min(maximum, FIRST_REQUESTS)
        self.in_flight: int = 0
        self._unmetered = 0  # requests in flight to operations without quota headers
        self._times_s: list[float] = []
        self._bases_s: deque[float] = deque(maxlen=_BASES)
        self._round = 0
        self._round_began_s = -inf
        self._is_pressed = False
        self._halved_s = -inf

    def room(self, *, has_quota_headers: bool) -> int:
        """Return how many more requests may start; where a quota is reported, up to `maximum`."""
        room = self.maximum - self.in_flight
        return max(0, room if has_quota_headers else min(room, self.limit - self._unmetered))

    def start(self, *, has_quota_headers: bool) -> None:
        """Record the start of a request; pass the same argument to `end`."""
        self.in_flight += 1
        self._unmetered += not has_quota_headers
        if self._unmetered >= self.limit:
            self._is_pressed = True

    def end(self, *, has_quota_headers: bool) -> None:
        """Record the end of a request, successful or not."""
        self.in_flight -= 1
        self._unmetered -= not has_quota_headers

    def on_response(self, elapsed_s: float, sent_s: float, now_s: float) -> None:
        """Record the response time of a request that was not rejected."""
        if sent_s < self._round_began_s:
            return
        self._times_s.append(max(elapsed_s, _MIN_TIME_S))
        is_start = self._round == 0 and self._halved_s == -inf
        if len(self._times_s) >= (self.limit if is_start else max(self.limit, _MIN_RESPONSES)):
            self._end_round(now_s)

    def on_overload(self, sent_s: float, now_s: float) -> None:
        """Lower the limit after an overload response to a request sent at `sent_s`.

        Overload responses to requests sent before the first one arrived count as one event.
        """
        if sent_s >= self._halved_s:
            # The initial limit was a guess, so the first overload lowers it further.
            self.limit = max(1, self.limit // (2 if self._round else 4))
            self._halved_s = now_s
            self._begin_round(now_s)

    def _end_round(self, now_s: float) -> None:
        typical_s = fmean(self._times_s)
        gain = _DRAINING_GAIN if self._round % _ROUNDS == _ROUNDS - 1 else _GAIN
        if self._round == 0:
            first_s = self._times_s[0]
            if len(self._times_s) > 1:
                # quantiles extrapolates from a few values, possibly below zero.
                first_s = max(0.0, quantiles(self._times_s, n=5)[0])
            if first_s >= _EVEN_SHARE * typical_s:
                first_s, gain = typical_s, _FIRST_GAIN
            self._bases_s.append(first_s)
        elif self._round % _ROUNDS == 0:
            if self._round == _ROUNDS:
                self._bases_s.clear()  # the first base was a guess
            self._bases_s.append(typical_s)
        share = min(1.0, fmean(self._bases_s) / typical_s) if typical_s > 0 else 1.0
        if self._is_pressed:
            raised = round(self.limit * share * gain) + 1
            self.limit = max(1, min(self.maximum, raised))
        self._round += 1
        self._begin_round(now_s)

    def _begin_round(self, now_s: float) -> None:
        self._round_began_s = now_s
        self._times_s.clear()
        self._is_pressed = self._unmetered >= self.limit
