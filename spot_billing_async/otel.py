"""Hook that turns telemetry events into spans and metrics of OpenTelemetry (extra: otel).

```python
client = SpotBillingClient(hook=OpenTelemetryHook())
```

A call is a span of kind INTERNAL, and each of its requests a child of kind CLIENT, named and
described by the semantic conventions for HTTP. The conventions require one CLIENT span per request,
and none around the requests of a call, so that a backend counts no request twice.

A request ends before its call, whose span has to exist first. So the hook keeps the requests of a
call until the call ends, and creates all spans then, with the original times. The parent of a
call's span is the current span of the calling code; for the slices of a pull, the current span
where its block was entered. The trace context is not sent to the server.
"""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from spot_billing_async.errors import ConfigError, MissingExtraError, shortened
from spot_billing_async.models.validation import check_flag
from spot_billing_async.telemetry import CacheRead, CallEnded, Event, Phases, RequestEnded
from spot_billing_async.version import __version__

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
except ImportError as _missing:
    raise MissingExtraError(
        "the OpenTelemetry hook needs opentelemetry-api: pip install '.[otel]'"
    ) from _missing

_NAME = "spot_billing_async"
_SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Histogram bounds of the HTTP conventions; a call may also wait for the server's quota.
_REQUEST_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_CALL_BOUNDS_S = (*_REQUEST_BOUNDS_S, 30, 60, 120, 300)
_SIZE_BOUNDS_BYTES = tuple(4**power for power in range(4, 15))  # 256 bytes to 256 MiB

Attributes = dict[str, str | int | float]
"""Attributes of a span or a metric."""


class OpenTelemetryHook:
    """Hook that creates spans and metrics from a client's events.

    One hook may serve several clients. Spans: one per call, named by its operationId, and below it
    one per request, named like "GET /billingEngine/cost". `error.type` is the name of the error's
    class.

    Metrics of the HTTP conventions: `http.client.request.duration` in seconds and
    `http.client.response.body.size` in bytes, counted compressed. Histograms of the client:
    `spot_billing.call.duration` in seconds, and `spot_billing.phase.duration` in seconds by
    `spot_billing.phase`, for phases in which the call spent time. Counters: `spot_billing.rows`,
    `spot_billing.retries`, `spot_billing.refusals`, `spot_billing.mismatches`, and
    `spot_billing.cache.days` by `spot_billing.cache.result` (hit, joined or missed). No metric
    identifies an account.

    Args:
        tracer_provider: creates the spans; None for the global one.
        meter_provider: creates the metrics; None for the global one.
        identify_accounts: True for spans with values that may identify accounts (ids in `url.full`
            and the call's parameters); False for `REDACTED` in their place.

    Raises:
        ConfigError: an argument is invalid.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        identify_accounts: bool = False,
    ) -> None:
        _check_provider("tracer_provider", tracer_provider, trace.TracerProvider)
        _check_provider("meter_provider", meter_provider, metrics.MeterProvider)
        check_flag("identify_accounts", identify_accounts)
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider, _SCHEMA_URL)
        meter = metrics.get_meter(_NAME, __version__, meter_provider, _SCHEMA_URL)
        self._instruments = _Instruments(meter)
        self._identify_accounts = identify_accounts
        self._pending: dict[int, list[RequestEnded]] = {}  # by call; dropped when the call ends

    def __call__(self, event: Event, /) -> None:
        """Record an event; the end of a call creates its spans."""
        match event:
            case RequestEnded():
                self._pending.setdefault(event.call_id, []).append(event)
                self._instruments.count_request(event)
            case CallEnded():
                self._trace(event, self._pending.pop(event.call_id, []))
                self._instruments.count_call(event)
            case CacheRead():
                self._instruments.count_days(event)

    def _trace(self, call: CallEnded, requests: list[RequestEnded]) -> None:
        """Create the spans of a call that has just ended."""
        ended_ns = time.time_ns()
        started_ns = ended_ns - _ns(call.elapsed_s)
        span = self._tracer.start_span(
            call.operation_id,
            attributes=_call_attributes(call, identify_accounts=self._identify_accounts),
            start_time=started_ns,
        )
        if span.is_recording():  # else the sampler dropped it, and would drop its children
            self._trace_requests(call, requests, trace.set_span_in_context(span), started_ns)
        _end(span, call.error, ended_ns)

    def _trace_requests(
        self, call: CallEnded, requests: list[RequestEnded], parent: Context, started_ns: int
    ) -> None:
        """Create the spans of a call's requests, as children of the call's span."""
        resends = 0
        for request in requests:
            sent_ns = started_ns + _ns(request.started_s - call.started_s)
            child = self._tracer.start_span(
                f"{request.method} {request.url_template}",
                parent,
                trace.SpanKind.CLIENT,
                _request_attributes(request, resends, identify_accounts=self._identify_accounts),
                start_time=sent_ns,
            )
            _end(child, request.error, sent_ns + _ns(request.elapsed_s))
            # A failed request is followed by its retry, a successful one by the next page.
            resends = 0 if request.error is None else resends + 1


class _Instruments:
    """Metric instruments, each with its unit and description."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._request_s = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST_BOUNDS_S,
        )
        self._body_bytes = meter.create_histogram(
            "http.client.response.body.size",
            "By",
            "Size of HTTP client response bodies.",
            explicit_bucket_boundaries_advisory=_SIZE_BOUNDS_BYTES,
        )
        self._call_s = meter.create_histogram(
            "spot_billing.call.duration",
            "s",
            "Duration of calls, including waits, retries and pages.",
            explicit_bucket_boundaries_advisory=_CALL_BOUNDS_S,
        )
        self._phase_s = meter.create_histogram(
            "spot_billing.phase.duration",
            "s",
            "Time that calls spent in each phase.",
            explicit_bucket_boundaries_advisory=_CALL_BOUNDS_S,
        )
        self._rows = meter.create_counter(
            "spot_billing.rows", "{row}", "Items that calls returned."
        )
        self._retries = meter.create_counter(
            "spot_billing.retries", "{request}", "Requests sent again after a failed one."
        )
        self._refusals = meter.create_counter(
            "spot_billing.refusals", "{request}", "Requests that the rate limit rejected."
        )
        self._mismatches = meter.create_counter(
            "spot_billing.mismatches", "{response}", "Responses that contradicted their query."
        )
        self._days = meter.create_counter(
            "spot_billing.cache.days", "{day}", "Days looked up in the cost cache."
        )

    def count_request(self, request: RequestEnded) -> None:
        attributes = _http_attributes(request)
        self._request_s.record(request.elapsed_s, attributes)
        # Without a response there is no body, not one of 0 bytes.
        if request.status is not None or request.received_bytes:
            self._body_bytes.record(request.received_bytes, attributes)

    def count_call(self, call: CallEnded) -> None:
        operation: Attributes = {"spot_billing.operation_id": call.operation_id}
        self._call_s.record(call.elapsed_s, operation | _error(call.error))
        for phase, spent_s in _spent(call.phases):
            self._phase_s.record(spent_s, operation | {"spot_billing.phase": phase})
        self._rows.add(call.rows, operation)
        self._retries.add(call.retries, operation)
        self._refusals.add(call.refusals, operation)
        self._mismatches.add(call.mismatches, operation)

    def count_days(self, read: CacheRead) -> None:
        for result, days in (
            ("hit", read.days_hit),
            ("joined", read.days_joined),
            ("missed", read.days_missed),
        ):
            self._days.add(
                days,
                {
                    "spot_billing.operation_id": read.operation_id,
                    "spot_billing.cache.result": result,
                },
            )


def _http_attributes(request: RequestEnded) -> Attributes:
    """Return the attributes that the metrics and the span of a request share."""
    parts = urlsplit(request.url)
    attributes: Attributes = {
        "http.request.method": request.method,
        "server.address": parts.hostname or "",
        # The conventions require a port, which a URL may leave to its scheme.
        "server.port": parts.port or _DEFAULT_PORTS[parts.scheme],
        "url.template": request.url_template,
    }
    if request.status is not None:
        attributes["http.response.status_code"] = request.status
    return attributes | _error(request.error)


def _request_attributes(
    request: RequestEnded, resends: int, *, identify_accounts: bool
) -> Attributes:
    attributes = _http_attributes(request)
    attributes["url.full"] = request.url if identify_accounts else request.redacted_url
    attributes["http.response.body.size"] = request.received_bytes
    if resends:
        attributes["http.request.resend_count"] = resends
    return attributes


def _call_attributes(call: CallEnded, *, identify_accounts: bool) -> Attributes:
    attributes: Attributes = {
        "spot_billing.operation_id": call.operation_id,
        "spot_billing.requests": call.requests,
        "spot_billing.retries": call.retries,
        "spot_billing.refusals": call.refusals,
        "spot_billing.mismatches": call.mismatches,
        "spot_billing.received_bytes": call.received_bytes,
        "spot_billing.rows": call.rows,
    }
    for phase, spent_s in _spent(call.phases):
        attributes[f"spot_billing.phase.{phase}_s"] = spent_s
    parameters = call.parameters if identify_accounts else call.open_parameters
    for name, value in parameters.items():
        attributes[f"spot_billing.parameter.{name}"] = shortened(value)  # may come from the server
    return attributes | _error(call.error)


def _spent(phases: Phases) -> Iterator[tuple[str, float]]:
    """Yield the name, without its unit, and the seconds of each phase that took time."""
    for name in phases.__struct_fields__:
        spent_s: float = getattr(phases, name)
        if spent_s > 0:
            yield name.removesuffix("_s"), spent_s


def _error(error: str | None) -> Attributes:
    return {} if error is None else {"error.type": error}


def _end(span: trace.Span, error: str | None, ended_ns: int) -> None:
    if error is not None:
        span.set_status(trace.StatusCode.ERROR)
    span.end(ended_ns)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _check_provider(field: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise ConfigError(
            f"{field} must be an OpenTelemetry {kind.__name__} or None, got {value!r}"
        )
