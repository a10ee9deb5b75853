"""Rate limit and retry time of a response, from its headers."""

from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from math import ceil, isfinite
from typing import Annotated, NamedTuple

from msgspec import Meta

_LONGEST_RESET_S = 3600.0
_LONGEST_RETRY_AFTER_S = 86_400.0  # callers get no longer one, such as a date in the year 9999
_MOST_REQUESTS = 1_000_000_000


class RateLimit(NamedTuple):
    """A server's rate limit, as its headers report it or as refused requests reveal it.

    Attributes:
        requests: number of requests that the server allows within the window.
        window_s: length of the sliding window in seconds.
    """

    requests: int
    window_s: float

    def least_s(self, requests: int) -> float:
        """Return the least number of seconds for `requests`, if no other client sends any."""
        return max(0, ceil(requests / self.requests) - 1) * self.window_s


class Quota(NamedTuple):
    """Rate limit headers of one response; None for a header that is missing or invalid."""

    limit: Annotated[int, Meta(ge=1, le=_MOST_REQUESTS)] | None = None  # requests in a window
    # Requests left when this one was counted, and seconds from then until one is allowed.
    remaining: Annotated[int, Meta(ge=0, le=_MOST_REQUESTS)] | None = None
    reset_s: Annotated[float, Meta(ge=0, le=_LONGEST_RESET_S)] | None = None


_NO_QUOTA = Quota()


def retry_after_s(headers: Mapping[str, str], *, limited: bool) -> float | None:
    """Return the seconds that the server asks to wait, at most a day; None without a valid header.

    Retry-After comes from proxies, as seconds or as a date, which is compared with the response's
    own Date header rather than this machine's clock. X-RateLimit-Reset comes with every response,
    so it counts only if this one was `limited`.
    """
    header = headers.get("Retry-After", "")
    wait_s = _seconds(header)
    if wait_s is None:
        with suppress(ValueError, TypeError, OverflowError):  # no date
            gap = parsedate_to_datetime(header) - parsedate_to_datetime(headers.get("Date", ""))
            wait_s = max(0.0, gap.total_seconds())
    if wait_s is None and limited:
        return _reset_s(headers)
    return None if wait_s is None else min(wait_s, _LONGEST_RETRY_AFTER_S)


def read_quota(headers: Mapping[str, str]) -> Quota:
    """Read X-RateLimit-Limit, -Remaining and -Reset, ignoring invalid values."""
    remaining = _seconds(headers.get("X-RateLimit-Remaining"))
    if remaining is None:
        return _NO_QUOTA
    limit = _seconds(headers.get("X-RateLimit-Limit"))
    return Quota(
        int(min(limit, _MOST_REQUESTS)) if limit is not None and limit >= 1 else None,
        int(min(remaining, _MOST_REQUESTS)),
        _reset_s(headers),
    )


def _reset_s(headers: Mapping[str, str]) -> float | None:
    """Return X-RateLimit-Reset in seconds; None over an hour, which is an epoch, not a wait."""
    reset_s = _seconds(headers.get("X-RateLimit-Reset"))
    return reset_s if reset_s is not None and reset_s <= _LONGEST_RESET_S else None


def _seconds(text: str | None) -> float | None:
    """Parse a finite number of at least 0; None for anything else."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None
