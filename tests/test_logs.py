"""Log lines of events: level, text, fields, and redaction of accounts."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from spot_billing_async import ClientConfig, ConfigError, RetryPolicy, SpotBillingClient
from spot_billing_async.errors import SpotBillingError
from spot_billing_async.logs import LoggingHook, StructlogHook
from spot_billing_async.telemetry import AvailabilityChanged, CacheRead, Event, fan_out
from tests.events import call_ended, request_ended
from tests.support import http, serve_raw

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
ACCOUNT = "act-011254"
READ = CacheRead(operation_id="getCostAnalysis", days_hit=3, days_joined=2, days_missed=1)


async def get_costs(*answers: bytes, hook: Any) -> None:
    """Request costs, with one retry, from a server with these responses."""
    config = ClientConfig(retry=RetryPolicy(max_attempts=2, backoff_base_s=0.001))
    async with (
        serve_raw(*answers) as (base_url, _),
        SpotBillingClient("t", base_url=base_url, config=config, hook=hook) as client,
    ):
        with suppress(SpotBillingError):
            await client.costs.get(ACCOUNT)


async def test_each_event_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    """Requests are DEBUG, failed ones and successful calls INFO; all fields are attributes."""
    caplog.set_level(logging.DEBUG, "spot_billing_async.telemetry")
    await get_costs(b"", http(GOOD), hook=LoggingHook())
    failed, good, call = (record for record in caplog.records if record.name.endswith("telemetry"))
    assert [r.levelno for r in (failed, good, call)] == [logging.INFO, logging.DEBUG, logging.INFO]
    assert "request 1: no response, 0 bytes" in failed.getMessage()
    assert failed.getMessage().endswith("TransportError")
    assert f"request 2: 200, {len(GOOD)} bytes" in good.getMessage()
    assert "1 rows, 2 requests, 1 retries" in call.getMessage()
    fields = vars(call)
    assert (fields["operation_id"], fields["rows"], fields["retries"]) == ("getCostAnalysis", 1, 1)
    assert fields["phases"]["first_byte_s"] > 0
    assert vars(good)["call_id"] == vars(failed)["call_id"] == fields["call_id"]


async def test_a_call_that_fails_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A call that fails is logged at WARNING, with the error's class."""
    await get_costs(http(b"", status="500 x"), hook=LoggingHook())
    (record,) = [record for record in caplog.records if record.name.endswith("telemetry")]
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("ServerError")


async def test_a_cancelled_call_is_not_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled call is logged at INFO, as its caller ended it."""
    caplog.set_level(logging.INFO)
    LoggingHook(logging.getLogger("any"))(call_ended(error="CancelledError"))
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_an_outage_is_a_warning_and_what_it_holds_back_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line says that the API is away; the slices that wait for it add no warnings."""
    caplog.set_level(logging.INFO)
    hook = LoggingHook(logging.getLogger("any"))
    hook(AvailabilityChanged("operation", "getCosts", "ServerError", 1.0, 4.0))
    hook(call_ended(error="OutageError"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert caplog.records[0].getMessage() == "the API is unavailable, next try in 4 s"


@pytest.mark.parametrize("identify_accounts", [False, True])
async def test_accounts_are_identified_only_on_request(
    identify_accounts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """By default neither message nor fields identify an account, in both kinds of log."""
    caplog.set_level(logging.DEBUG)
    output = CapturingLogger()
    structured = structlog.wrap_logger(output, [structlog.processors.JSONRenderer()])
    hook = fan_out(
        LoggingHook(identify_accounts=identify_accounts),
        StructlogHook(structured, identify_accounts=identify_accounts),
    )
    await get_costs(http(b"", status="500 x"), hook=hook)
    records = [record for record in caplog.records if record.name.endswith("telemetry")]
    assert len(records) == len(output.calls) == 3
    assert any(ACCOUNT in repr(vars(record)) for record in records) == identify_accounts
    assert (ACCOUNT in repr(output.calls)) == identify_accounts


def test_an_id_of_the_server_is_printable_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Parameters are logged without invisible characters, and cut."""
    event = call_ended(parameters={"accountId": "a\u3164\u202e" + "b" * 9_999})
    caplog.set_level(logging.DEBUG)
    LoggingHook(identify_accounts=True)(event)
    shown = vars(caplog.records[-1])["parameters"]["accountId"]
    assert (shown[:14], len(shown)) == ("a\\u3164\\u202eb", 2_000)


async def test_structlog_gets_a_name_and_fields() -> None:
    """A structlog logger receives the event's name and the same fields, by the level's method."""
    output = CapturingLogger()
    logger = structlog.wrap_logger(output, [structlog.processors.add_log_level, _as_fields])
    await get_costs(b"", http(GOOD), hook=StructlogHook(logger, logging.DEBUG))
    StructlogHook(logger)(READ)
    failed, good, call, read = (called.kwargs for called in output.calls)
    assert [line["event"] for line in (failed, good, call, read)] == [
        "request_ended",
        "request_ended",
        "call_ended",
        "cache_read",
    ]
    assert [line["level"] for line in (failed, good, call)] == ["info", "debug", "debug"]
    assert (good["status"], good["received_bytes"]) == (200, len(GOOD))
    assert (call["rows"], call["error"], call["parameters"]) == (1, None, {})
    assert (read["days_hit"], read["days_joined"], read["days_missed"]) == (3, 2, 1)


def _as_fields(_: object, __: str, line: Any) -> tuple[tuple[()], dict[str, Any]]:
    return (), dict(line)


async def test_structlog_warns_of_a_failed_call() -> None:
    """A failed call is a warning in structlog too."""
    output = CapturingLogger()
    StructlogHook(structlog.wrap_logger(output, [_as_fields]))(call_ended(error="ServerError"))
    assert [called.method_name for called in output.calls] == ["warning"]


def test_no_field_has_the_name_of_a_record_attribute() -> None:
    """Event fields have no name that logging or structlog reserves."""
    own = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "event", "level", "logger"}
    events: list[Event] = [READ, call_ended(), request_ended()]
    for event in events:
        assert not own & set(event.__struct_fields__)


def test_a_line_below_the_level_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event below the logger's level is not turned into a line."""
    monkeypatch.setattr("spot_billing_async.logs.line_of", None)
    quiet = logging.getLogger("quiet")
    quiet.setLevel(logging.WARNING)
    LoggingHook(quiet)(READ)


def test_invalid_arguments_are_refused() -> None:
    """Each error names the field, what is allowed, and the value."""

    class Async:
        async def debug(self, event: str) -> None: ...
        async def info(self, event: str) -> None: ...
        async def warning(self, event: str) -> None: ...

    ready: Any = LoggingHook
    structured: Any = StructlogHook
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: ready("name"), "logger must be .*, got 'name'"),
        (lambda: ready(level="INFO"), "level must be .*, got 'INFO'"),
        (lambda: ready(identify_accounts="no"), "identify_accounts must be .*, got 'no'"),
        (lambda: structured(None), "logger must .*, got None"),
        (lambda: structured(Async()), "logger must .*, got .*Async object"),
        (
            lambda: structured(structlog.get_logger(), identify_accounts=1),
            "identify_accounts must be .*, got 1",
        ),
    ]
    for make, message in refused:
        with pytest.raises(ConfigError, match=f"^{message}"):
            make()
