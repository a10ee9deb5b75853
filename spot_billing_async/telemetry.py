"""What calls tell about themselves: counts and times while they run, events when they end.

A call is at every moment in exactly one phase. Its stopwatch books the time since the last mark to
the phase that has just ended, so the phases add up to the call's wall time by construction.

Events are frozen and hold names, numbers and ids alone: no token, no body, no message of a server.
Which accounts were asked about stands in `RequestEnded.url` and `CallEnded.parameters` alone; both
have a twin that does not tell. Nothing is built of an event where no hook is there to be told.
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
"""Stands in the place of what may identify an account, as the conventions of OpenTelemetry say."""


_log = logging.getLogger("spot_billing_async")


_path_ids = re.compile(r"\{\w+\}")


_OPEN_PARAMETERS = frozenset({"fromDate", "toDate", "groupBy"})  # no account is known by them


Phase = Literal[
    "queued_s", "paced_s", "connect_s", "first_byte_s", "body_s", "decode_s", "backoff_s"
]


class Phases(msgspec.Struct, gc=False):
    """Where the time of a call went, in seconds; all pages and tries together.

    Attributes:
        queued_s: waiting for a place on the wire, for the token, and for a free connection.
        paced_s: held back to stay within the server's quota.
        connect_s: making connections, TLS included. Over a session of the caller's own, or without
            a hook, this is part of `first_byte_s`.
        first_byte_s: sending the request and waiting for the head of the answer.
        body_s: reading the body.
        decode_s: making items of it, and putting pages together.
        backoff_s: waiting to try again.
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
        """The sum, which is the call's wall time."""
        total_s: float = sum(msgspec.structs.astuple(self))
        return total_s


class RequestEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A request was answered, or came to nothing.

    Attributes:
        operation_id: what it asked for.
        call_id: of the call that it was sent for; the same as in its `CallEnded`.
        number: which request of its call it was, from 1.
        method: HTTP method.
        url: where it was sent. Its values may identify accounts; those of `redacted_url` do not.
        url_template: path of the URL, with `{name}` where an id stands.
        started_s: when it was sent, on the client's clock, which is `time.monotonic`.
        elapsed_s: seconds from being sent to the last byte.
        status: HTTP status; None where no answer came.
        received_bytes: size of the body as it crossed the wire, as far as it came.
        error: name of the error class that it ended with; None where it is good.
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

    @property
    def redacted_url(self) -> str:
        """The URL with `REDACTED` for ids in its path, and for all values but days and grouping."""
        parts = urlsplit(self.url)
        named = (pair.partition("=") for pair in parts.query.split("&") if pair)
        query = "&".join(
            f"{name}={value if name in _OPEN_PARAMETERS else REDACTED}" for name, _, value in named
        )
        path = _path_ids.sub(REDACTED, self.url_template)
        return f"{parts.scheme}://{parts.netloc}{path}{'?' if query else ''}{query}"


class CallEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A call ended, in whatever way; in a pull each slice is a call. Its requests were told before.

    Attributes:
        operation_id: what it asked for.
        call_id: the same as in its `RequestEnded`s; unique in this process.
        parameters: values in path and query, by the contract's names, such as `accountId`. They may
            identify accounts; those of `open_parameters` do not.
        started_s: when it started, on the client's clock, which is `time.monotonic`.
        elapsed_s: seconds from its start to its end.
        phases: where they went; they add up to `elapsed_s`.
        requests: requests sent, retries and pages included.
        retries: tries made after a failed one.
        refusals: requests that were refused for their rate.
        received_bytes: size of all bodies as they crossed the wire.
        rows: items that it came to, of all pages; 0 where it failed.
        error: name of the class of what it raised, "CancelledError" too; None where it is good.
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

    @property
    def open_parameters(self) -> dict[str, str]:
        """The parameters that identify no account: days and grouping."""
        return {k: v for k, v in self.parameters.items() if k in _OPEN_PARAMETERS}


class CacheRead(msgspec.Struct, frozen=True, kw_only=True):
    """A query was answered by way of the cache, or failed on it.

    The requests that were sent for it have events of their own; where none was, this is the only
    one. On success the days add up to those of the query.

    Attributes:
        operation_id: what it asked for.
        days_hit: days that were in the cache.
        days_joined: days that somebody else was fetching already.
        days_missed: days that the API was asked for on account of this query.
    """

    operation_id: str
    days_hit: int
    days_joined: int
    days_missed: int


Event = RequestEnded | CallEnded | CacheRead


class Hook(Protocol):
    """Is told of events as they happen, on the event loop: it must not block.

    What it raises is logged, and does not touch the call.
    """

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""


def emit(hook: Hook, event: Event) -> None:
    """Hand an event to a hook."""
    try:
        hook(event)
    except Exception:  # noqa: BLE001  a broken hook must not cost its host the answer
        _log.exception("a telemetry hook failed on %s", type(event).__name__)


def fan_out(*hooks: Hook) -> Hook:
    """One hook of several: each is told of every event, in this order.

    One that fails is logged, and does not keep the others from being told.

    Raises:
        ConfigError: one of them is no plain function of an event.
    """
    for place, hook in enumerate(hooks):
        check_hook(f"hooks[{place}]", hook)

    def tell_all(event: Event, /) -> None:
        for hook in hooks:
            emit(hook, event)

    return tell_all


def check_hook(field: str, hook: object) -> None:
    """Refuse what could not be told: nobody would await an async function.

    Raises:
        ConfigError: names the field and the value.
    """
    call = getattr(type(hook), "__call__", None)  # noqa: B004  its kind, not whether there is one
    is_async = iscoroutinefunction(hook) or iscoroutinefunction(call)
    if is_async or not callable(hook):
        raise ConfigError(
            f"{field}: {hook!r} is not allowed; allowed: a plain function of an event"
        )
