"""How many requests may be under way at once where the server tells no quota: a pure controller.

The theory. A server works on N requests at once; beyond that they queue there, each takes longer,
and far beyond it refuses. N is not told. With k > N under way a request takes k/N times as long as
with N: so the ratio of the shortest time to the present one says how much of what is under way is
being worked on. The limit is set to that, times a gain above 1 so that the server never runs dry
and more capacity is noticed: `limit * base / mean * gain`. Below capacity the ratio is 1, and the
limit grows by the gain each round; above, it settles where a request takes `gain` times the base.

A round is as many answers to requests that were sent in it as the limit is high: what was sent
before met another queue. A first round that shows no queue is followed by one four times as large,
as servers refuse only far beyond what they work on. The base is the shortest mean of the last
rounds, not the shortest time of all: queries differ in size, and a small one says nothing about the
others. One round in eight is a smaller one, so that the base is measured anew without a queue. A
refusal for overload halves the limit.

This is a gradient controller. Additive increase and multiplicative decrease, which
`benchmarks.capacity` measures beside it, has to be refused to find the limit.
"""

from collections import deque
from math import inf
from statistics import fmean, quantiles

from spot_billing_async.pacing import FIRST_REQUESTS

_FIRST_GAIN = 4.0
_GAIN = 1.5
_DRAINING_GAIN = 0.8
_ROUNDS = 8
_NO_FLOOD = 0.75  # of the mean time, taken by those that the first round had answered first


class ConcurrencyLimit:
    """The limit on requests under way to one server, and their number.

    Args:
        most: the limit never exceeds it.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(most, FIRST_REQUESTS)
        self.under_way = 0
        self._times_s: list[float] = []
        self._bases_s: deque[float] = deque(maxlen=_ROUNDS)
        self._round = 0
        self._round_began_s = -inf
        self._is_pressed = False
        self._halved_s = -inf

    def has_room(self, *, told: bool) -> bool:
        """Whether one more may start; where the server tells its quota, the latter steers."""
        return self.under_way < (self.most if told else self.limit)

    def start(self) -> None:
        """A request starts."""
        self.under_way += 1
        if self.under_way >= self.limit:
            self._is_pressed = True

    def end(self) -> None:
        """A request is over, in whatever way."""
        self.under_way -= 1

    def answered(self, elapsed_s: float, sent_s: float, now_s: float) -> None:
        """A request that was sent at `sent_s` was answered, and not refused."""
        if sent_s < self._round_began_s:
            return
        self._times_s.append(elapsed_s)
        if len(self._times_s) >= self.limit:
            self._end_round(now_s)

    def overloaded(self, sent_s: float, now_s: float) -> None:
        """A request that was sent at `sent_s` was refused as too much.

        Refusals of what was sent before the first one was met are one and the same event.
        """
        if sent_s >= self._halved_s:
            self.limit = max(1, self.limit // 2)
            self._halved_s = now_s
            self._begin_round(now_s)

    def _end_round(self, now_s: float) -> None:
        typical_s = first_s = fmean(self._times_s)
        if self._round == 0 and len(self._times_s) > 1:
            first_s = max(0.0, quantiles(self._times_s, n=5)[0])  # few times: it may be below 0
        is_flooded = first_s < _NO_FLOOD * typical_s
        self._bases_s.append(first_s if is_flooded else typical_s)
        share = min(self._bases_s) / typical_s if typical_s > 0 else 1.0
        if self._is_pressed:
            raised = round(self.limit * share * self._gain(is_flooded=is_flooded)) + 1
            self.limit = max(1, min(self.most, raised))
        self._round += 1
        self._begin_round(now_s)

    def _begin_round(self, now_s: float) -> None:
        self._round_began_s = now_s
        self._times_s.clear()
        self._is_pressed = self.under_way >= self.limit

    def _gain(self, *, is_flooded: bool) -> float:
        if self._round == 0 and not is_flooded:
            return _FIRST_GAIN
        return _DRAINING_GAIN if self._round % _ROUNDS == _ROUNDS - 1 else _GAIN
