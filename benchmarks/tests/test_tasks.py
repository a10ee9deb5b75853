"""Tasks and measurements, the workers that make calls, and the canned page."""

# ruff: noqa: PLR2004  a test states its expected figures in place

import asyncio
import time

from benchmarks.harness.processes import first_error
from benchmarks.harness.server import http_response, page_body
from benchmarks.harness.task import Measurement, Task, day_of
from benchmarks.harness.watch import Stopwatch, resident_mib, run_calls
from spot_billing_async import CostItem
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import decoder_for


def test_tasks_and_measurements_survive_json() -> None:
    """A process reads what another process wrote."""
    task = Task("http://127.0.0.1:1", 7, planned=9)
    assert Task.from_json(task.to_json()) == task
    measurement = Measurement(1, 0.5, 0.25, 30.5, extra={"plan_s": 0.1})
    assert Measurement.from_json(measurement.to_json()) == measurement


async def test_each_call_is_made_once_by_a_fixed_number_of_workers() -> None:
    """No call is omitted or made twice, and no more run concurrently than the task says."""
    made: list[int] = []
    running, most = 0, 0

    async def call(i: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        made.append(i)
        return 2

    assert (await run_calls(call, Task("", 50, concurrency=8))).rows == 100
    assert sorted(made) == list(range(50))
    assert most == 8


def test_the_canned_page_is_a_valid_response() -> None:
    """The client decodes all its rows; its head states the length of its body."""
    body = page_body(3, "a", "2018-10-01")
    envelope = decoder_for(CostItem, totalled=True).decode("getCostAnalysis", body, Secret("t"))
    assert envelope.response is not None
    assert isinstance(envelope.response.items, list)
    assert len(envelope.response.items) == envelope.response.count == 3
    assert http_response(body).endswith(b"Content-Length: %d\r\n\r\n" % len(body) + body)


def test_calls_request_days_of_one_month() -> None:
    """Every call requests a valid day."""
    assert (day_of(0), day_of(27), day_of(28)) == ("2018-10-01", "2018-10-28", "2018-10-01")


def test_memory_is_measured() -> None:
    """The peak is not below the resident memory."""
    assert 0 < resident_mib() <= resident_mib("VmHWM") + 1


def test_the_first_error_of_tracebacks_is_found() -> None:
    """The first error is found within an exception group and before later errors."""
    stderr = """\
  + Exception Group Traceback (most recent call last):
  |     raise BaseExceptionGroup(
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    |   File "x.py", line 1, in work
    | AttributeError: no 'when'
    +------------------------------------
package.ConfigError: the client is closed
"""
    assert first_error(stderr) == "AttributeError: no 'when'"
    assert first_error("Killed") == ""


def test_a_stopwatch_measures_cpu_and_time() -> None:
    """Waiting takes time, but no CPU; without a loop the lag is 0."""
    with Stopwatch(Task("", 1)) as watch:
        time.sleep(0.05)
    measurement = watch.measurement(3, found=7)
    assert measurement.cpu_s < 0.04 < measurement.wall_s
    assert (measurement.rows, measurement.lag_worst_ms) == (3, 0)
    assert measurement.extra == {"found": 7}
