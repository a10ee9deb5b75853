"""Lines about an outage of the API, beside a progress bar and without one."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from spot_billing_async.cli.output import AvailabilityPrinter
from spot_billing_async.telemetry import AvailabilityChanged, CacheRead

AWAY = AvailabilityChanged("connection", None, "TransportError", 1.5, 4.04)
BACK = AvailabilityChanged("connection", None, "TransportError", 125.26, None)


def test_an_outage_is_printed_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a progress bar, each event of an outage is a line; other events are none."""
    printer = AvailabilityPrinter()
    read = CacheRead(operation_id="getCosts", days_hit=1, days_joined=0, days_missed=0)
    for event in (AWAY, read, BACK):
        printer(event)
    assert capsys.readouterr().err.splitlines() == [
        "the API is unavailable, next try in 4 s",
        "the API is available again after 125.3 s",
    ]


def test_an_outage_is_printed_above_a_progress_bar() -> None:
    """On a terminal the line stands above the bar, which would overwrite it otherwise."""
    stream = io.StringIO()
    printer = AvailabilityPrinter()
    with Progress(console=Console(file=stream, force_terminal=True)) as printer.progress:
        printer(AWAY)
    assert "the API is unavailable, next try in 4 s" in stream.getvalue()
