"""Telemetry events as lines of a log: by the standard library, or by structlog.

```python
client = SpotBillingClient(hook=LoggingHook())
client = SpotBillingClient(hook=StructlogHook(structlog.get_logger()))
```

Neither sets logging up: which lines are shown, where and how, is the host's business.

A call that failed is a warning. One that was cancelled is not: its caller left. A request that
failed is an info line, as its call may yet end well; any other request is a debug line.
"""

import logging
from inspect import iscoroutinefunction
from typing import NamedTuple, Protocol

import msgspec

from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import check_flag
from spot_billing_async.telemetry import CacheRead, CallEnded, Event, RequestEnded

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)


class StructuredLogger(Protocol):
    """What `StructlogHook` asks of a logger; structlog's have it."""

    def debug(self, event: str, **fields: object) -> object: ...  # noqa: D102  as structlog's

    def info(self, event: str, **fields: object) -> object: ...  # noqa: D102

    def warning(self, event: str, **fields: object) -> object: ...  # noqa: D102


class LoggingHook:
    """A hook that writes one record an event to a logger of the standard library.

    The record's message is for people; what it tells stands in the record's attributes too, under
    the names of the event's own, for a formatter that writes them (`extra`).

    Args:
        logger: where to; None for the one named "spot_billing_async.telemetry".
        level: of calls that end well: DEBUG, INFO or WARNING. In a pull each slice is a call.
        identify_accounts: show values that may identify accounts; else `REDACTED` stands for them.

    Raises:
        ConfigError: an argument is not usable.
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
            raise ConfigError(f"logger: {logger!r} is not allowed; allowed: a logging.Logger")
        _check_options(level, identify_accounts)
        self._logger = logger
        self._level = level
        self._identifies = identify_accounts

    def __call__(self, event: Event, /) -> None:
        """Write a record, where the logger takes its level."""
        level = level_of(event, self._level)
        if self._logger.isEnabledFor(level):
            line = line_of(event, identify_accounts=self._identifies)
            self._logger.log(level, line.text, extra=line.fields)


class StructlogHook:
    """A hook that tells a structlog logger of each event, by a name and fields.

    The names are "request_ended", "call_ended" and "cache_read", the fields those of the events.

    Args:
        logger: what `structlog.get_logger()` gives, or any that has its debug, info and warning as
            plain methods.
        level: of calls that end well: DEBUG, INFO or WARNING. In a pull each slice is a call.
        identify_accounts: show values that may identify accounts; else `REDACTED` stands for them.

    Raises:
        ConfigError: an argument is not usable.
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
                    f"logger: {logger!r} is not allowed; allowed: one with plain methods debug, "
                    "info and warning"
                )
        self._logger = logger
        self._level = level
        self._identifies = identify_accounts

    def __call__(self, event: Event, /) -> None:
        """Tell the logger."""
        level = level_of(event, self._level)
        line = line_of(event, identify_accounts=self._identifies)
        if level == logging.DEBUG:
            self._logger.debug(line.name, **line.fields)
        elif level == logging.INFO:
            self._logger.info(line.name, **line.fields)
        else:
            self._logger.warning(line.name, **line.fields)


class Line(NamedTuple):
    """An event as a line of a log.

    Attributes:
        name: what kind of event it is.
        text: what it tells, for people.
        fields: what it tells, for programs: names, numbers and texts.
    """

    name: str
    text: str
    fields: dict[str, object]


def level_of(event: Event, level: int) -> int:
    """How much an event matters; `level` is that of a call that ended well."""
    match event:
        case CallEnded(error=None):
            return level
        case CallEnded(error="CancelledError"):
            return logging.INFO
        case CallEnded():
            return logging.WARNING
        case RequestEnded(error=str()):
            return logging.INFO
        case _:
            return logging.DEBUG


def line_of(event: Event, *, identify_accounts: bool) -> Line:
    """An event as a line of a log."""
    fields = msgspec.structs.asdict(event)
    match event:
        case RequestEnded():
            fields["url"] = event.url if identify_accounts else event.redacted_url
            answer = "no answer" if event.status is None else event.status
            text = f"request {event.number}: {answer}, {event.received_bytes} bytes"
            return Line("request_ended", _told(event, text, event.elapsed_s, event.error), fields)
        case CallEnded():
            shown = event.parameters if identify_accounts else event.open_parameters
            fields["parameters"] = dict(shown)
            fields["phases"] = msgspec.structs.asdict(event.phases)
            text = f"{event.rows} rows, {event.requests} requests, {event.retries} retries"
            return Line("call_ended", _told(event, text, event.elapsed_s, event.error), fields)
        case CacheRead():
            text = (
                f"{event.operation_id}: of its days {event.days_hit} were in the cache, "
                f"{event.days_joined} on their way, {event.days_missed} missing"
            )
            return Line("cache_read", text, fields)


def _told(event: CallEnded | RequestEnded, text: str, elapsed_s: float, error: str | None) -> str:
    end = "" if error is None else f"; {error}"
    return f"{event.operation_id} (call {event.call_id}): {text} in {elapsed_s:.3f} s{end}"


def _check_options(level: object, identify_accounts: object) -> None:
    if level not in _LEVELS:
        raise ConfigError(
            f"level: {level!r} is not allowed; allowed: logging.DEBUG, INFO or WARNING"
        )
    check_flag("identify_accounts", identify_accounts)
