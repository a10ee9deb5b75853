"""How many requests may be under way at once where the server tells no quota: a pure controller.

The theory. A server works on N requests at once; beyond that they queue there, each takes longer,
and far beyond it refuses. N is not told. With k > N under way a request takes k/N times as long as
with N: so the ratio of the shortest time to the present one says how much of what is under way is
being worked on. The limit is set to that, times a gain above 1 so that the server never runs dry
and more capacity is noticed: `limit * base / mean * gain`. Below capacity the ratio is 1, and the
limit grows by the gain each round; above, it settles where a request takes `gain` times the base.

A round is as many answers to requests that were sent in it as the limit is high, and not fewer
than twenty: what was sent before met another queue, and a few answers say little where queries
differ in size. One round in twelve is a smaller one that leaves no queue; the base is the mean time
in the last of these. Until there is one it is that of the first round: if its times lie close
together there was no queue, and the next round is four times as large, as servers refuse only far
beyond what they work on. If they do not, those that the server answered first are taken for the
base. A refusal for overload halves the limit.

This is a gradient controller. Additive increase and multiplicative decrease, which
`benchmarks.claims.capacity` measures beside it, has to be refused to find the limit.
"""

from collections import deque
from math import inf
from statistics import fmean, quantiles

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS

_FIRST_GAIN = 4.0
_GAIN = 1.5
_DRAINING_GAIN = 0.8
_ROUNDS = 12  # from one that drains the queue to the next
_BASES = 3  # rounds without a queue
_LEAST_ANSWERS = 20  # a round
_OWN_S = 0.01  # whatever takes less says more of this process than of the server
_EVEN_SHARE = 0.75  # of the mean time: if the fastest fifth took less, the rest had queued


class ConcurrencyLimit:
    """The limit on requests under way to one server, and their number.

    Args:
        most: the limit never exceeds it.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(most, FIRST_REQUESTS)
        self.under_way = 0
        self._untold = 0
        self._times_s: list[float] = []
        self._bases_s: deque[float] = deque(maxlen=_BASES)
        self._round = 0
        self._round_began_s = -inf
        self._is_pressed = False
        self._halved_s = -inf

    def has_room(self, *, told: bool) -> bool:
        """Whether one more may start; where the server tells a quota, that steers."""
        return self.under_way < self.most and (told or self._untold < self.limit)

    def room(self, *, told: bool) -> int:
        """How many more may start; `told` as in `has_room`."""
        room = self.most - self.under_way
        return room if told else max(0, min(room, self.limit - self._untold))

    def start(self, *, told: bool) -> None:
        """A request starts; `told` as in `has_room`, here and when it ends."""
        self.under_way += 1
        self._untold += not told
        if self._untold >= self.limit:
            self._is_pressed = True

    def end(self, *, told: bool) -> None:
        """A request is over, in whatever way."""
        self.under_way -= 1
        self._untold -= not told

    def on_response(self, elapsed_s: float, sent_s: float, now_s: float) -> None:
        """A request that was sent at `sent_s` was answered, and not refused."""
        if sent_s < self._round_began_s:
            return
        self._times_s.append(max(elapsed_s, _OWN_S))
        is_start = self._round == 0 and self._halved_s == -inf
        if len(self._times_s) >= (self.limit if is_start else max(self.limit, _LEAST_ANSWERS)):
            self._end_round(now_s)

    def overloaded(self, sent_s: float, now_s: float) -> None:
        """A request that was sent at `sent_s` was refused as too much.

        Refusals of what was sent before the first one was met are one and the same event.
        """
        if sent_s >= self._halved_s:
            self.limit = max(1, self.limit // (2 if self._round else 4))  # the first was a guess
            self._halved_s = now_s
            self._begin_round(now_s)

    def _end_round(self, now_s: float) -> None:
        typical_s = fmean(self._times_s)
        gain = _DRAINING_GAIN if self._round % _ROUNDS == _ROUNDS - 1 else _GAIN
        if self._round == 0:
            first_s = _fastest_fifth_s(self._times_s)
            if first_s >= _EVEN_SHARE * typical_s:
                first_s, gain = typical_s, _FIRST_GAIN
            self._bases_s.append(first_s)
        elif self._round % _ROUNDS == 0:
            if self._round == _ROUNDS:
                self._bases_s.clear()  # that was a guess
            self._bases_s.append(typical_s)
        share = min(1.0, fmean(self._bases_s) / typical_s) if typical_s > 0 else 1.0
        if self._is_pressed:
            raised = round(self.limit * share * gain) + 1
            self.limit = max(1, min(self.most, raised))
        self._round += 1
        self._begin_round(now_s)

    def _begin_round(self, now_s: float) -> None:
        self._round_began_s = now_s
        self._times_s.clear()
        self._is_pressed = self._untold >= self.limit


def _fastest_fifth_s(times_s: list[float]) -> float:
    """What the fastest fifth took at most."""
    # Of a few times it is extrapolated, which may lead below zero.
    return max(0.0, quantiles(times_s, n=5)[0]) if len(times_s) > 1 else times_s[0]
