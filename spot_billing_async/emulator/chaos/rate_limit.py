"""Rate limit of the API as the vendor documents it, without I/O, on the caller's clock.

Documented: a sliding window for each organization, route and method; three headers on every
response, of which `X-RateLimit-Reset` is the number of seconds until a request is allowed; a retry
before the reset delays the reset. Assumed: a refused request counts like any other, which would
explain the delay, and a token identifies an organization.
"""

import math
import re
from collections import deque
from typing import NamedTuple


class RateLimit(NamedTuple):
    """Number of requests allowed in a sliding window of `window_s` seconds."""

    requests: int
    window_s: float

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """Parse a text such as '100/60s'.

        Raises:
            ValueError: the text has another form, or one of the numbers is zero.
        """
        match = re.fullmatch(r"(\d+)/(\d+(?:\.\d+)?)s", text, re.ASCII)
        if match is None or int(match[1]) == 0 or float(match[2]) == 0:
            raise ValueError(f"rate_limit must be written like '100/60s', got {text!r}")
        return cls(int(match[1]), float(match[2]))


class LimitDecision(NamedTuple):
    """Decision of a window on one request, with the quota left after it."""

    allowed: bool
    remaining: int
    reset_s: float


class Bursts(NamedTuple):
    """Another consumer of the same quota that sends `size` requests at once in every window.

    `phase_s` is the time of one burst on the window's clock; the others are whole windows from it.
    """

    size: int
    phase_s: float


_NO_BURSTS = Bursts(0, 0)


class SlidingWindow:
    """Times of recent requests. Only the newest `limit.requests` of them matter and are kept."""

    def __init__(self, limit: RateLimit, bursts: Bursts = _NO_BURSTS) -> None:
        self._limit = limit
        self._bursts = bursts
        self._burst_number: int | None = None
        self._times: deque[float] = deque(maxlen=limit.requests)

    def admit(self, now: float) -> LimitDecision:
        """Count a request at `now`, in seconds of a monotonic clock, and decide on it."""
        times, limit = self._times, self._limit
        self._count_burst(now)
        while times and times[0] <= now - limit.window_s:
            times.popleft()
        allowed = len(times) < limit.requests
        times.append(now)
        remaining = limit.requests - len(times)
        # Subtracting in this order gives exactly the window for a request counted just now; with a
        # rounding error above it, the header, which is rounded up, would be one second too high.
        reset_s = 0.0 if remaining else limit.window_s - (now - times[0])
        return LimitDecision(allowed, remaining, reset_s)

    def _count_burst(self, now: float) -> None:
        """Count the newest burst once; all earlier bursts have already left the window."""
        size, phase_s = self._bursts
        number = math.floor((now - phase_s) / self._limit.window_s)
        if number != self._burst_number:
            self._burst_number = number
            self._times.extend([min(now, phase_s + number * self._limit.window_s)] * size)
