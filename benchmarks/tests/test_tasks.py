"""What processes of a benchmark tell each other, and what a crew does."""

import asyncio
import time

from benchmarks.harness.processes import cause_in
from benchmarks.harness.server import answer_of, body_of
from benchmarks.harness.task import Measured, Task, day_of
from benchmarks.harness.watch import DeadlineTimer, resident_mib, side_by_side
from spot_billing_async import CostItem
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import decoder_for


def test_tasks_and_measures_survive_their_text() -> None:
    """What one process writes is what the other reads."""
    task = Task("http://127.0.0.1:1", 7, planned=9)
    assert Task.of(task.text()) == task
    measured = Measured(1, 0.5, 0.25, 30.5, extra={"plan_s": 0.1})
    assert Measured.of(measured.text()) == measured


async def test_each_call_is_made_once_by_a_crew_of_fixed_size() -> None:
    """No call is left out or made twice, and no more run at once than asked for."""
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

    assert (await side_by_side(call, Task("", 50, concurrency=8))).rows == 100
    assert sorted(made) == list(range(50))
    assert most == 8


def test_the_canned_page_is_a_true_answer() -> None:
    """This client reads all its rows; its head tells its length."""
    body = body_of(3)
    envelope = decoder_for(CostItem, totalled=True).decode("getCostAnalysis", body, Secret("t"))
    assert envelope.response is not None
    assert isinstance(envelope.response.items, list)
    assert len(envelope.response.items) == envelope.response.count == 3
    assert answer_of(3).endswith(b"Content-Length: %d\r\n\r\n" % len(body) + body)


def test_days_are_days() -> None:
    """They are within one month, whatever the call."""
    assert (day_of(0), day_of(27), day_of(28)) == ("2018-10-01", "2018-10-28", "2018-10-01")


def test_memory_is_read() -> None:
    """The peak is at least what is resident."""
    assert 0 < resident_mib() <= resident_mib("VmHWM") + 1


def test_the_first_error_is_the_cause() -> None:
    """What follows from an error, and the group that it comes in, do not hide it."""
    complaints = """\
  + Exception Group Traceback (most recent call last):
  |     raise BaseExceptionGroup(
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    |   File "x.py", line 1, in work
    | AttributeError: no 'when'
    +------------------------------------
package.ConfigError: it was left
"""
    assert cause_in(complaints) == "AttributeError: no 'when'"
    assert cause_in("Killed") == ""


def test_a_watch_sees_work_and_time() -> None:
    """Waiting takes time, but no CPU; without a loop there is no lag."""
    with DeadlineTimer(Task("", 1)) as watch:
        time.sleep(0.05)
    measured = watch.measured(3, found=7)
    assert measured.cpu_s < 0.04 < measured.wall_s
    assert (measured.rows, measured.lag_worst_ms, measured.extra) == (3, 0, {"found": 7})
