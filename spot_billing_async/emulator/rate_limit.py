"""The rate limit of the API, as far as the vendor documents it: pure, on the caller's clock.

Documented: a sliding window for each organization, route and method; three headers on every answer,
of which `X-RateLimit-Reset` is the seconds until a request is allowed; a retry before the reset
delays the reset. Assumed: that a refused request counts like any other, which would explain the
delay, and that a token stands for an organization.
"""

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


class SlidingWindow:
    """Requests of the last seconds. Only the newest `requests` of them matter, and are kept."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._times: deque[float] = deque(maxlen=limit.requests)

    def admit(self, now: float) -> Verdict:
        """Count a request that comes at `now`, in seconds of a clock that never goes back."""
        times, limit = self._times, self._limit
        while times and times[0] <= now - limit.window_s:
            times.popleft()
        allowed = len(times) < limit.requests
        times.append(now)
        remaining = limit.requests - len(times)
        reset_s = 0.0 if remaining else times[0] + limit.window_s - now
        return Verdict(allowed, remaining, reset_s)
