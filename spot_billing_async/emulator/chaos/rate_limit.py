"""The rate limit of the API, as far as the vendor documents it: pure, on the caller's clock.

Documented: a sliding window for each organization, route and method; three headers on every answer,
of which `X-RateLimit-Reset` is the seconds until a request is allowed; a retry before the reset
delays the reset. Assumed: that a refused request counts like any other, which would explain the
delay, and that a token stands for an organization.
"""

import math
import re
from collections import deque
from typing import NamedTuple


class RateLimit(NamedTuple):
    """How many requests are allowed in a sliding window of so many seconds."""

    requests: int
    window_s: float

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """Read '100/60s'.

        Raises:
            ValueError: it is written otherwise, or one of the numbers is not above zero.
        """
        match = re.fullmatch(r"(\d+)/(\d+(?:\.\d+)?)s", text, re.ASCII)
        if match is None or int(match[1]) == 0 or float(match[2]) == 0:
            raise ValueError(f"a rate limit is written like 100/60s, not {text!r}")
        return cls(int(match[1]), float(match[2]))


class Verdict(NamedTuple):
    """What a window says of a request: whether it may pass, and what is left after it."""

    allowed: bool
    remaining: int
    reset_s: float


class Bursts(NamedTuple):
    """Another consumer of the same quota: `size` requests at once, one window apart.

    `phase_s` says when, on the window's clock: at that time, and any number of windows from it.
    """

    size: int
    phase_s: float


_NO_OTHERS = Bursts(0, 0)


class SlidingWindow:
    """Requests of the last seconds. Only the newest `requests` of them matter, and are kept."""

    def __init__(self, limit: RateLimit, others: Bursts = _NO_OTHERS) -> None:
        self._limit = limit
        self._others = others
        self._turn: int | None = None
        self._times: deque[float] = deque(maxlen=limit.requests)

    def admit(self, now: float) -> Verdict:
        """Count a request that comes at `now`, in seconds of a clock that never goes back."""
        times, limit = self._times, self._limit
        self._let_others_in(now)
        while times and times[0] <= now - limit.window_s:
            times.popleft()
        allowed = len(times) < limit.requests
        times.append(now)
        remaining = limit.requests - len(times)
        # In this order the reset of a request that came just now is the whole window, to the digit.
        reset_s = 0.0 if remaining else limit.window_s - (now - times[0])
        return Verdict(allowed, remaining, reset_s)

    def _let_others_in(self, now: float) -> None:
        """Count the newest burst, unless that is done: the one before it has left the window."""
        size, phase_s = self._others
        turn = math.floor((now - phase_s) / self._limit.window_s)
        if turn != self._turn:
            self._turn = turn
            self._times.extend([min(now, phase_s + turn * self._limit.window_s)] * size)
