"""How many requests may be under way at once where the server tells no quota: a pure controller.

The theory. A server works on N requests at once; beyond that they queue there, each takes longer,
and far beyond it refuses. N is not told. With k > N under way a request takes k/N times as long as
with N: so the ratio of the shortest time to the present one says how much of what is under way is
being worked on. The limit is set to that, times a gain above 1 so that the server never runs dry
and more capacity is noticed: `limit * base / median * gain`. Below capacity the ratio is 1, and the
limit grows by the gain each round; above, it settles where a request takes `gain` times the base.

A round is as many answers as the limit. The first rounds grow fast, until requests take longer. The
base is the shortest median of the last rounds, not the shortest time of all: queries differ in
size, and a small one says nothing about the others. One round in eight runs at gain 1, so that the
base is measured anew without a queue. A refusal for overload halves the limit, once a round.

This is a gradient controller. Additive increase and multiplicative decrease would need refusals to
find the limit.
"""

from collections import deque
from statistics import median

from spot_billing_async.pacing import FIRST_REQUESTS

_FAST_GAIN = 2.5
_GAIN = 1.5
_ROUNDS = 8
_QUEUES_BELOW = 0.67  # of the base's share in the time of a request; then growing fast is over


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
        self._grows_fast = True
        self._is_pressed = False
        self._was_halved = False

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

    def answered(self, elapsed_s: float) -> None:
        """A request was answered after so many seconds, and not refused."""
        self._times_s.append(elapsed_s)
        if len(self._times_s) >= self.limit:
            self._end_round()

    def overloaded(self) -> None:
        """A request was refused as too much."""
        self._grows_fast = False
        if not self._was_halved:
            self._was_halved = True
            self.limit = max(1, self.limit // 2)

    def _end_round(self) -> None:
        typical_s = median(self._times_s)
        # With a full house from the start, the first round's shortest is the best guess there is.
        self._bases_s.append(typical_s if self._round else min(self._times_s))
        share = min(self._bases_s) / typical_s if typical_s > 0 else 1.0
        self._grows_fast = self._grows_fast and share >= _QUEUES_BELOW
        if self._is_pressed and not self._was_halved:
            gain = _FAST_GAIN if self._grows_fast else _GAIN
            if self._round % _ROUNDS == _ROUNDS - 1 and not self._grows_fast:
                gain = 1.0
            self.limit = max(1, min(self.most, round(self.limit * share * gain) + 1))
        self._round += 1
        self._times_s.clear()
        self._is_pressed = self.under_way >= self.limit
        self._was_halved = False
