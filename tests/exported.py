"""OpenTelemetry exporters in memory, and checks of what they exported."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from spot_billing_async.otel import OpenTelemetryHook


class Exported:
    """Providers of the OpenTelemetry SDK and the spans and metrics that they exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.processor = SimpleSpanProcessor(self._exporter)
        self.tracers.add_span_processor(self.processor)
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def hook(self, *, identify_accounts: bool = False) -> OpenTelemetryHook:
        """Return a hook that exports to these providers."""
        return OpenTelemetryHook(self.tracers, self.meters, identify_accounts=identify_accounts)

    @property
    def spans(self) -> list[ReadableSpan]:
        """All spans, in the order of their end."""
        return list(self._exporter.get_finished_spans())

    @property
    def calls(self) -> list[ReadableSpan]:
        """Spans of calls."""
        return [span for span in self.spans if attribute(span, "spot_billing.operation_id")]

    @property
    def requests(self) -> list[ReadableSpan]:
        """Spans of requests."""
        return [span for span in self.spans if span.kind is SpanKind.CLIENT]

    def points(self, name: str, by: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the data points of a metric that have these attributes."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
            if (by or {}).items() <= (point.attributes or {}).items()
        ]

    def total(self, name: str, by: Mapping[str, Any] | None = None) -> float:
        """Return the sum of the values that a counter or a histogram recorded."""
        points = self.points(name, by)
        return float(sum(p.sum if hasattr(p, "sum") else p.value for p in points))

    def counted(self, name: str, by: Mapping[str, Any] | None = None) -> int:
        """Return the number of values that a histogram recorded."""
        return sum(point.count for point in self.points(name, by))

    def texts(self) -> list[str]:
        """Return all spans and metrics as JSON texts."""
        data = self._reader.get_metrics_data()
        return [span.to_json() for span in self.spans] + ([data.to_json()] if data else [])


def attribute(span: ReadableSpan, name: str) -> Any:
    """Return an attribute of a span; None if the span does not have it."""
    return (span.attributes or {}).get(name)


def children(spans: list[ReadableSpan]) -> dict[int, list[ReadableSpan]]:
    """Return the child spans by the id of their parent; 0 for spans without a parent."""
    children_of: dict[int, list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        children_of[span.parent.span_id if span.parent else 0].append(span)
    return children_of


def id_of(span: ReadableSpan) -> int:
    """Return the id of a span."""
    return int(span.context.span_id)


def assert_tree(exported: Exported, parent: ReadableSpan | None = None) -> None:
    """Check that each call is a child of `parent`, and each request of a call, within its time."""
    calls, children_of = exported.calls, children(exported.spans)
    assert {id_of(call) for call in calls} == {
        id_of(span) for span in children_of[id_of(parent) if parent else 0] if span is not parent
    }
    for call in calls:
        requests = children_of[id_of(call)]
        assert len(requests) == attribute(call, "spot_billing.requests")
        assert call.kind is SpanKind.INTERNAL
        times_ns = [call.start_time]
        for request in requests:
            assert request.kind is SpanKind.CLIENT
            times_ns += [request.start_time, request.end_time]
        times_ns.append(call.end_time)
        assert times_ns == sorted(times_ns, key=lambda at_ns: at_ns or 0)
    assert sum(len(children_of[id_of(call)]) for call in calls) == len(exported.requests)
