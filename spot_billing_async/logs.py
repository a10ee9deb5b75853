"""Hooks that log telemetry events, through the standard library or structlog.

```python
client = SpotBillingClient(hook=LoggingHook())
client = SpotBillingClient(hook=StructlogHook(structlog.get_logger()))
```

Neither configures logging: the application decides which lines are shown, where and how.

A failed call and an outage of the API are logged as WARNING, a call that was cancelled or held back
by an outage as INFO. A failed request is logged as INFO, as
its call may still succeed; any other request, and a cache read, as DEBUG.
"""

import logging
from inspect import iscoroutinefunction
from typing import NamedTuple, Protocol

import msgspec

from spot_billing_async.errors import ConfigError, shortened
from spot_billing_async.models.validation import check_flag
from spot_billing_async.telemetry import (
    AvailabilityChanged,
    CacheRead,
    CallEnded,
    Event,
    RequestEnded,
)

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)


class StructuredLogger(Protocol):
    """Methods that `StructlogHook` calls on a logger; structlog's loggers have them."""

    def debug(self, event: str, **fields: object) -> object: ...  # noqa: D102  as structlog's

    def info(self, event: str, **fields: object) -> object: ...  # noqa: D102

    def warning(self, event: str, **fields: object) -> object: ...  # noqa: D102


class LoggingHook:
    """Hook that writes one record per event to a logger of the standard library.

    The record's message is for people. The event's fields are attributes of the record (`extra`),
    for formatters that write them.

    Args:
        logger: logger to write to; None for the one named "spot_billing_async.telemetry".
        level: level of calls that succeed: DEBUG, INFO or WARNING. In a pull each slice is a call.
        identify_accounts: True to show values that may identify accounts; False to write
            `REDACTED` in their place.

    Raises:
        ConfigError: an argument is invalid.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        level: int = logging.INFO,
        *,
        identify_accounts: bool = False,
    ) -> None:
        if logger is None:
            logger = logging.getLogger("spot_billing_async.telemetry")
        if not isinstance(logger, logging.Logger):
            raise ConfigError(f"logger must be a logging.Logger or None, got {logger!r}")
        _check_options(level, identify_accounts)
        self._logger = logger
        self._level = level
        self._identify_accounts = identify_accounts

    def __call__(self, event: Event, /) -> None:
        """Write a record, if the logger is enabled for its level."""
        level = level_of(event, self._level)
        # Checked before the line is built: most events are DEBUG, which most loggers drop.
        if self._logger.isEnabledFor(level):
            line = line_of(event, identify_accounts=self._identify_accounts)
            self._logger.log(level, line.text, extra=line.fields)


class StructlogHook:
    """Hook that passes each event to a structlog logger, as a name and fields.

    The names are "request_ended", "call_ended", "cache_read" and "availability_changed"; the fields
    are those of the event.

    Args:
        logger: result of `structlog.get_logger()`, or any logger with plain (not async) methods
            debug, info and warning.
        level: level of calls that succeed: DEBUG, INFO or WARNING. In a pull each slice is a call.
        identify_accounts: True to show values that may identify accounts; False to write
            `REDACTED` in their place.

    Raises:
        ConfigError: an argument is invalid.
    """

    def __init__(
        self,
        logger: StructuredLogger,
        level: int = logging.INFO,
        *,
        identify_accounts: bool = False,
    ) -> None:
        _check_options(level, identify_accounts)
        for name in ("debug", "info", "warning"):
            method = getattr(logger, name, None)
            if not callable(method) or iscoroutinefunction(method):
                raise ConfigError(
                    f"logger must have plain methods debug, info and warning, got {logger!r}"
                )
        self._logger = logger
        self._level = level
        self._identify_accounts = identify_accounts

    def __call__(self, event: Event, /) -> None:
        """Log an event at its level."""
        level = level_of(event, self._level)
        line = line_of(event, identify_accounts=self._identify_accounts)
        if level == logging.DEBUG:
            self._logger.debug(line.name, **line.fields)
        elif level == logging.INFO:
            self._logger.info(line.name, **line.fields)
        else:
            self._logger.warning(line.name, **line.fields)


class Line(NamedTuple):
    """Log line of an event.

    Attributes:
        name: kind of the event.
        text: message for people.
        fields: the event's fields, for programs: names, numbers and texts.
    """

    name: str
    text: str
    fields: dict[str, object]


def level_of(event: Event, level: int) -> int:
    """Return the log level of an event; `level` is that of a successful call."""
    match event:
        case CallEnded(error=None):
            return level
        case CallEnded(error="CancelledError" | "OutageError"):
            return logging.INFO
        case CallEnded() | AvailabilityChanged():
            return logging.WARNING
        case RequestEnded(error=str()):
            return logging.INFO
        case _:
            return logging.DEBUG


def line_of(event: Event, *, identify_accounts: bool) -> Line:
    """Return the log line of an event."""
    fields = msgspec.structs.asdict(event)
    match event:
        case RequestEnded():
            fields["url"] = event.url if identify_accounts else event.redacted_url
            response = "no response" if event.status is None else event.status
            text = f"request {event.number}: {response}, {event.received_bytes} bytes"
            return Line("request_ended", _full_text(event, text), fields)
        case CallEnded():
            shown = event.parameters if identify_accounts else event.open_parameters
            # Ids may come from the server.
            fields["parameters"] = {name: shortened(value) for name, value in shown.items()}
            fields["phases"] = msgspec.structs.asdict(event.phases)
            text = f"{event.rows} rows, {event.requests} requests, {event.retries} retries"
            return Line("call_ended", _full_text(event, text), fields)
        case CacheRead():
            text = (
                f"{event.operation_id}: {event.days_hit} days from the cache, "
                f"{event.days_joined} from shared fetches, {event.days_missed} from the API"
            )
            return Line("cache_read", text, fields)
        case AvailabilityChanged():
            return Line("availability_changed", event.text, fields)


def _full_text(event: CallEnded | RequestEnded, text: str) -> str:
    end = "" if event.error is None else f"; {event.error}"
    return f"{event.operation_id} (call {event.call_id}): {text} in {event.elapsed_s:.3f} s{end}"


def _check_options(level: object, identify_accounts: object) -> None:
    """Raise unless both options of a hook are valid."""
    if level not in _LEVELS:
        raise ConfigError(f"level must be logging.DEBUG, INFO or WARNING, got {level!r}")
    check_flag("identify_accounts", identify_accounts)
