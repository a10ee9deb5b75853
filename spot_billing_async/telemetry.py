"""Telemetry events of calls, requests and cache reads, and the hook that receives them.

A call is in exactly one phase at any moment. Its stopwatch adds the time since the last mark to the
phase that has just ended, so the phases add up to the call's wall time by construction.

Events are frozen and hold names, numbers and ids only: no token, no body, no message of a server.
Only `RequestEnded.url` and `CallEnded.parameters` may identify an account; `redacted_url` and
`open_parameters` are their forms without identifying values. Without a hook no event is built.
"""

import logging
import re
from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from spot_billing_async.errors import ConfigError

REDACTED = "REDACTED"
"""Replacement for values that may identify an account, as OpenTelemetry's conventions name it."""

_log = logging.getLogger("spot_billing_async")
_path_ids = re.compile(r"\{\w+\}")
_OPEN_PARAMETERS = frozenset({"fromDate", "toDate", "groupBy"})  # these never identify an account

Phase = Literal[
    "queued_s", "paced_s", "connect_s", "first_byte_s", "body_s", "decode_s", "backoff_s"
]
"""Name of a phase: a field of `Phases`."""

MismatchKind = Literal["url", "account", "date"]
"""Kind of a contradiction to a query: parameters of the echoed URL, accounts or days of rows."""


class Phases(msgspec.Struct, gc=False):  # floats form no cycle for the collector to find
    """Seconds that a call spent in each phase, summed over all its pages and attempts.

    Attributes:
        queued_s: seconds waiting for the concurrency limit, the token and a free connection.
        paced_s: seconds held back to stay within the server's quota.
        connect_s: seconds opening connections, TLS handshake included. With a session of the
            caller's own they count as `first_byte_s`.
        first_byte_s: seconds from sending a request to the head of its response.
        body_s: seconds reading bodies.
        decode_s: seconds decoding items and joining pages.
        backoff_s: seconds waiting before retries.
    """

    queued_s: float = 0.0
    paced_s: float = 0.0
    connect_s: float = 0.0
    first_byte_s: float = 0.0
    body_s: float = 0.0
    decode_s: float = 0.0
    backoff_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Sum of all phases in seconds: the call's wall time."""
        total_s: float = sum(msgspec.structs.astuple(self))
        return total_s


class RequestEnded(msgspec.Struct, frozen=True, kw_only=True):
    """Event: a request ended, with a response or without one.

    Attributes:
        operation_id: the contract's operationId.
        call_id: id of the call that sent the request; equals `CallEnded.call_id`.
        number: position among the requests of its call, from 1.
        method: HTTP method.
        url: full URL. Its values may identify accounts; those of `redacted_url` do not.
        url_template: path of the URL, with `{name}` in place of each id.
        started_s: time of sending in seconds, on the client's clock (`time.monotonic`).
        elapsed_s: seconds from sending to the last byte of the response.
        status: HTTP status; None where no response arrived.
        received_bytes: bytes of the body that arrived, counted compressed.
        error: name of the error class; None where the request succeeded.
        mismatches: what contradicted the query in the response.
    """

    operation_id: str
    call_id: int
    number: int
    method: str
    url: str
    url_template: str
    started_s: float
    elapsed_s: float
    status: int | None
    received_bytes: int
    error: str | None
    mismatches: tuple[MismatchKind, ...] = ()

    @property
    def redacted_url(self) -> str:
        """URL with `REDACTED` in place of path ids and of all values except days and grouping."""
        parts = urlsplit(self.url)
        named = (pair.partition("=") for pair in parts.query.split("&") if pair)
        query = "&".join(
            f"{name}={value if name in _OPEN_PARAMETERS else REDACTED}" for name, _, value in named
        )
        path = _path_ids.sub(REDACTED, self.url_template)
        return f"{parts.scheme}://{parts.netloc}{path}{'?' if query else ''}{query}"


class CallEnded(msgspec.Struct, frozen=True, kw_only=True):
    """Event: a call ended, by success, error or cancellation. In a pull each slice is a call.

    The events of its requests precede it.

    Attributes:
        operation_id: the contract's operationId.
        call_id: id of the call, unique in this process; equals `RequestEnded.call_id`.
        parameters: values in path and query, by the contract's names, such as `accountId`. They may
            identify accounts; those of `open_parameters` do not.
        started_s: start time in seconds, on the client's clock (`time.monotonic`).
        elapsed_s: seconds from start to end.
        phases: seconds spent in each phase; they add up to `elapsed_s`.
        requests: number of requests sent, retries and pages included.
        retries: number of requests sent again after a failed one.
        refusals: number of requests that the rate limit of the server rejected.
        mismatches: number of contradictions after which the query was sent again or the call ended.
        received_bytes: bytes of all bodies that arrived, counted compressed.
        rows: number of items on all pages; 0 where the call failed.
        error: name of the exception's class, "CancelledError" included; None on success.
    """

    operation_id: str
    call_id: int
    parameters: Mapping[str, str]
    started_s: float
    elapsed_s: float
    phases: Phases
    requests: int
    retries: int
    refusals: int
    received_bytes: int
    rows: int
    error: str | None
    mismatches: int = 0

    @property
    def open_parameters(self) -> dict[str, str]:
        """Parameters that do not identify an account: days and grouping."""
        return {k: v for k, v in self.parameters.items() if k in _OPEN_PARAMETERS}


class CacheRead(msgspec.Struct, frozen=True, kw_only=True):
    """Event: a query was served through the cache, or failed there.

    Requests that it sent have events of their own; where it sent none, this is its only event. On
    success the three numbers add up to the number of days in the query.

    Attributes:
        operation_id: the contract's operationId.
        days_hit: number of days found in the cache.
        days_joined: number of days taken from a shared fetch of another query.
        days_missed: number of days fetched from the API for this query.
    """

    operation_id: str
    days_hit: int
    days_joined: int
    days_missed: int


OutageScope = Literal["connection", "operation", "token"]
"""Part of the API that is away: all of it, one operation, or the credential's token provider."""


class AvailabilityChanged(msgspec.Struct, frozen=True):
    """Event: the API is unavailable, again after each failed probe; or it is back.

    Pulls and syncs hold their requests back until it is back.

    Attributes:
        scope: part that is away.
        operation_id: the contract's operationId, if the scope is an operation; else None.
        error: name of the error class of the latest failure.
        elapsed_s: seconds since the outage was suspected.
        next_try_s: seconds until the next probe; None if the API is back.
    """

    scope: OutageScope
    operation_id: str | None
    error: str
    elapsed_s: float
    next_try_s: float | None

    @property
    def text(self) -> str:
        """Description for people, such as 'the API is unavailable, next try in 4 s'."""
        if self.next_try_s is None:
            return f"the API is available again after {self.elapsed_s:.1f} s"
        return f"the API is unavailable, next try in {self.next_try_s:.2g} s"


Event = RequestEnded | CallEnded | CacheRead | AvailabilityChanged
"""Any event that a hook receives."""


class Hook(Protocol):
    """Receiver of events: a plain function of one event, called on the event loop.

    It must not block. An exception that it raises is logged and does not affect the call.
    """

    def __call__(self, event: Event, /) -> None:
        """Process an event."""


def emit(hook: Hook, event: Event) -> None:
    """Pass an event to a hook, and log what the hook raises."""
    try:
        hook(event)
    except Exception:  # noqa: BLE001  a broken hook must not cost the caller the result
        _log.exception("a telemetry hook failed on %s", type(event).__name__)


def fan_out(*hooks: Hook) -> Hook:
    """Combine hooks into one that passes every event to each of them, in this order.

    A hook that fails is logged, and the others still receive the event.

    Raises:
        ConfigError: a hook is not a plain function of one event.
    """
    for place, hook in enumerate(hooks):
        check_hook(f"hooks[{place}]", hook)

    def emit_to_all(event: Event, /) -> None:
        for hook in hooks:
            emit(hook, event)

    return emit_to_all


def check_hook(field: str, hook: object) -> None:
    """Raise unless `hook` is callable and not async, as its coroutine would never be awaited.

    Raises:
        ConfigError: names the field and the value.
    """
    call = getattr(type(hook), "__call__", None)  # noqa: B004  checks its kind, not that it exists
    is_async = iscoroutinefunction(hook) or iscoroutinefunction(call)
    if is_async or not callable(hook):
        raise ConfigError(f"{field} must be a plain function of an event, got {hook!r}")
