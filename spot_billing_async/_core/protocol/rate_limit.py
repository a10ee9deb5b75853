"""What an answer's headers say of the rate limit, and of how long to wait."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import ceil, isfinite
from typing import NamedTuple

_LONGEST_RESET_S = 3600.0


class RateLimit(NamedTuple):
    """A server's rate limit, as far as its answers have told it.

    Attributes:
        requests: requests that may be counted within the window.
        window_s: how long it is, in seconds; it slides.
    """

    requests: int
    window_s: float

    def least_s(self, requests: int) -> float:
        """Seconds that so many requests take at least, if nobody else sends any."""
        return max(0, ceil(requests / self.requests) - 1) * self.window_s


class Quota(NamedTuple):
    """What an answer's headers tell of the rate limit; None for what is missing or makes no sense.

    Attributes:
        limit: requests that the server's window holds.
        remaining: how many of them were left when this one was counted.
        reset_s: seconds from then until a request is allowed.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


_NOTHING = Quota()


def retry_after_s(headers: Mapping[str, str], *, limited: bool) -> float | None:
    """Seconds that the server asks to wait; None where it does not say, or nothing sensible.

    Retry-After comes from proxies, as seconds or as a date, which is held against the answer's own
    Date so that this machine's clock does not matter. `X-RateLimit-Reset` counts seconds by the
    vendor's documentation and comes with every answer, so it is a wait only of a limited one.
    """
    asked = headers.get("Retry-After")
    if asked is not None:
        wait_s = _seconds(asked)
        if wait_s is None:
            wait_s = _seconds_between(headers.get("Date"), asked)
        if wait_s is not None:
            return wait_s
    return _reset_s(headers) if limited else None


def read_quota(headers: Mapping[str, str]) -> Quota:
    """Read X-RateLimit-Limit, -Remaining and -Reset as far as they make sense."""
    remaining = _seconds(headers.get("X-RateLimit-Remaining"))
    if remaining is None:
        return _NOTHING
    limit = _seconds(headers.get("X-RateLimit-Limit"))
    return Quota(
        int(limit) if limit is not None and limit >= 1 else None,
        int(remaining),
        _reset_s(headers),
    )


def _reset_s(headers: Mapping[str, str]) -> float | None:
    """Over an hour, with a window of 60 s, it is no wait but something else, such as an epoch."""
    reset_s = _seconds(headers.get("X-RateLimit-Reset"))
    return reset_s if reset_s is not None and reset_s <= _LONGEST_RESET_S else None


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None


def _seconds_between(earlier: str | None, later: str) -> float | None:
    try:
        gap = parsedate_to_datetime(later) - parsedate_to_datetime(earlier or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, gap.total_seconds())
