"""Runs of pulls: workers, outcomes, report. No HTTP: `fetch` is a function of the test."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import date
from decimal import Decimal
from weakref import ref

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    ConfigError,
    CostPlan,
    CostQuery,
    DeadlineExceededError,
    Failed,
    Fetched,
    PullReport,
    PullRun,
    SpotBillingError,
    TransportError,
)
from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async.models.results import Answer
from tests.support import Clock

EMPTY: Answer[str] = Answer([], "r", None, {})


def plan_of(slices: int) -> CostPlan:
    return CostPlan.build([f"a{i}" for i in range(slices)], date(2018, 1, 1), date(2018, 1, 1))


def answer(cost: str, currency: str = "USD") -> Answer[str]:
    return Answer([cost], f"r{cost}", None, {currency: Decimal(cost)})


def index_of(query: CostQuery) -> int:
    assert query.account_id is not None
    return int(query.account_id[1:])


def adds_up(report: PullReport) -> bool:
    return report.planned == (
        report.ok + report.empty + report.failed + report.cancelled + report.not_started
    )


async def mixed(query: CostQuery, counts: RequestCounts, ___: float) -> Answer[str]:
    """Return no item, fail, or return a cost of 0.1: one of three slices each."""
    counts.requests += 1
    await anyio.lowlevel.checkpoint()
    match index_of(query) % 3:
        case 0:
            return EMPTY
        case 1:
            counts.requests += 1
            counts.retries += 1
            raise TransportError("reset")
        case _:
            return answer("0.1")


@pytest.mark.parametrize("ordered", [False, True])
async def test_every_slice_has_one_outcome(ordered: bool) -> None:
    """A failed slice does not stop the others, and the report counts each slice once."""
    async with PullRun(plan_of(30), mixed, worker_count=4, ordered=ordered) as run:
        outcomes = [outcome async for outcome in run]
    assert sorted(index_of(o.query) for o in outcomes) == list(range(30))
    if ordered:
        assert [o.query for o in outcomes] == list(plan_of(30))
    report = run.report
    assert (report.ok, report.empty, report.failed) == (10, 10, 10)
    assert (report.cancelled, report.not_started) == (0, 0)
    assert (report.rows, report.totals) == (10, {"USD": Decimal("1.0")})
    assert (report.requests, report.retries) == (40, 10)
    assert adds_up(report)
    assert not report.complete
    failed = [o for o in outcomes if isinstance(o, Failed)]
    assert {(str(o.error), o.attempts) for o in failed} == {("reset", 2)}
    assert list(run.unfinished()) == []


async def test_the_number_of_workers_is_fixed() -> None:
    """At most `worker_count` slices are fetched at once, and no slice has a task of its own."""
    busy = 0
    most = 0

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await anyio.lowlevel.checkpoint()
        busy -= 1
        return EMPTY

    before = len(asyncio.all_tasks())
    async with PullRun(plan_of(50), fetch, worker_count=5) as run:
        await anext(run)
        assert len(asyncio.all_tasks()) - before <= 5 + 1
        async for _ in run:
            pass
    assert most == 5
    assert len(asyncio.all_tasks()) == before


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_slow_reader_stops_the_workers(ordered: bool) -> None:
    """The number of slices fetched ahead is bounded by the workers, not by the plan."""
    fetched_count = 0

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        nonlocal fetched_count
        fetched_count += 1
        return EMPTY

    async with PullRun(plan_of(1000), fetch, worker_count=4, ordered=ordered) as run:
        await anyio.wait_all_tasks_blocked()
        assert fetched_count <= 4 * 2 + 4
        async for _ in run:
            pass
    assert run.report.empty == 1000


@given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 4), st.booleans())
def test_leaving_early_counts_the_rest(
    slices: int, read: int, worker_count: int, ordered: bool
) -> None:
    """A block may be left anywhere: the report adds up and `unfinished` names the other slices."""

    async def main() -> None:
        seen: list[CostQuery] = []
        async with PullRun(
            plan_of(slices), mixed, worker_count=worker_count, ordered=ordered
        ) as run:
            seen += [(await anext(run)).query for _ in range(min(read, slices))]
            assert adds_up(run.report)
        assert adds_up(run.report)
        missing = [unfinished.query for unfinished in run.unfinished()]
        assert set(missing) | set(seen) == set(plan_of(slices))
        assert len(missing) + len(seen) == slices
        started = sum(unfinished.started for unfinished in run.unfinished())
        assert started == run.report.cancelled
        assert run.report.rows == sum(index_of(query) % 3 == 2 for query in seen)

    anyio.run(main)


async def test_a_cancelled_fetch_is_counted() -> None:
    """The report counts the requests of cancelled slices, and the slices as 'cancelled'."""

    async def fetch(_: CostQuery, counts: RequestCounts, ___: float) -> Answer[str]:
        counts.requests += 1
        await anyio.sleep_forever()
        return EMPTY

    async with PullRun(plan_of(10), fetch, worker_count=3) as run:
        await anyio.wait_all_tasks_blocked()
    report = run.report
    assert (report.requests, report.cancelled, report.not_started) == (3, 3, 7)


async def test_the_callers_exception_passes_unchanged() -> None:
    """An exception raised in the block is not wrapped in a group."""
    run = PullRun(plan_of(10), mixed, worker_count=3)

    async def pull() -> None:
        async with run:
            await anext(run)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await pull()
    assert adds_up(run.report)


@pytest.mark.parametrize("error_class", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_exits_pass_unchanged(error_class: type[BaseException]) -> None:
    """KeyboardInterrupt, SystemExit and GeneratorExit are not wrapped in a group either."""

    async def pull() -> None:
        async with PullRun(plan_of(10), mixed, worker_count=3) as run:
            await anext(run)
            raise error_class

    coroutine = pull()
    with pytest.raises(error_class):
        await coroutine


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_generator_around_a_run_can_be_closed(elsewhere: bool) -> None:
    """Closing works in any task, as event loops and finalizers do it, and cancels no other task."""
    runs: list[PullRun[str]] = []

    async def outcomes() -> AsyncGenerator[Fetched[str] | Failed, None]:
        async with PullRun(plan_of(10), mixed, worker_count=3) as run:
            runs.append(run)
            async for outcome in run:
                yield outcome

    before = asyncio.all_tasks()
    generator = outcomes()
    await anext(generator)
    if elsewhere:
        await asyncio.create_task(generator.aclose())
    else:
        await generator.aclose()
    await anyio.lowlevel.checkpoint()
    assert asyncio.all_tasks() == before
    assert adds_up(runs[0].report)


async def test_a_second_cancellation_still_ends_the_workers() -> None:
    """A cancellation during the cleanup of an earlier one leaves no task behind."""
    may_end = asyncio.Event()

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await may_end.wait()
        return EMPTY

    async def pull() -> None:
        async with PullRun(plan_of(4), fetch, worker_count=2) as run:
            await anext(run)

    before = asyncio.all_tasks()
    task = asyncio.create_task(pull())
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before


async def test_amounts_that_cannot_be_added_fail_their_slice() -> None:
    """A slice that would round the total fails and adds nothing to the total."""
    amounts = {0: "1e150", 1: "1e-150", 2: "2e150"}

    async def fetch(query: CostQuery, _: RequestCounts, ___: float) -> Answer[str]:
        return answer(amounts[index_of(query)])

    async with PullRun(plan_of(3), fetch, worker_count=1, ordered=True) as run:
        outcomes = [outcome async for outcome in run]
    assert [isinstance(outcome, Failed) for outcome in outcomes] == [False, True, False]
    report = run.report
    assert (report.ok, report.failed, report.rows) == (2, 1, 2)
    assert report.totals == {"USD": Decimal("3e150")}


@pytest.mark.parametrize("native", [False, True])
async def test_cancelling_the_caller_ends_the_run(native: bool) -> None:
    """A task or scope cancellation leaves no task behind, and the report adds up."""
    runs: list[PullRun[str]] = []

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        await anyio.sleep_forever()
        return EMPTY

    async def pull() -> None:
        async with PullRun(plan_of(10), fetch, worker_count=3) as run:
            runs.append(run)
            async for _ in run:
                pass

    before = asyncio.all_tasks()
    if native:
        task = asyncio.create_task(pull())
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(pull)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert asyncio.all_tasks() == before
    assert adds_up(runs[0].report)
    assert runs[0].report.cancelled == 3


async def test_a_deadline_of_the_caller_ends_the_run() -> None:
    """An `asyncio.timeout` around a pull raises TimeoutError as usual."""

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        await anyio.sleep_forever()
        return EMPTY

    async def pull() -> None:
        async with asyncio.timeout(0), PullRun(plan_of(4), fetch, worker_count=2) as run:
            await anext(run)

    with pytest.raises(TimeoutError):
        await pull()


async def test_a_bug_in_fetch_is_not_swallowed() -> None:
    """An exception of `fetch` that is not a SpotBillingError ends the run and is raised."""

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with PullRun(plan_of(1), fetch, worker_count=2) as run:
            async for _ in run:
                pass


async def test_a_bug_that_was_not_reached_is_raised_at_the_end() -> None:
    """A block that ends without reading raises a worker's bug, unless it raises its own."""

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with PullRun(plan_of(1), fetch, worker_count=1):
            await anyio.wait_all_tasks_blocked()

    async def fails() -> None:
        async with PullRun(plan_of(1), fetch, worker_count=1):
            await anyio.wait_all_tasks_blocked()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fails()


async def test_a_run_is_entered_once_and_read_inside() -> None:
    """A run that is not open or is entered twice raises instead of waiting for ever."""
    run = PullRun(plan_of(2), mixed, worker_count=2)
    with pytest.raises(ConfigError, match="inside its 'async with'"):
        await anext(run)
    assert run.report.not_started == 2
    async with run:
        pass
    with pytest.raises(ConfigError, match="inside its 'async with'"):
        await anext(run)
    with pytest.raises(ConfigError, match="entered before"):
        async with run:
            pass


async def test_totals_are_by_currency() -> None:
    """The report has one total per currency, and elapsed times are those of the given clock."""
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 1
        return now_s

    async def fetch(query: CostQuery, _: RequestCounts, ___: float) -> Answer[str]:
        return answer("1.5", "EUR") if index_of(query) % 2 else answer("-0.25")

    async with PullRun(plan_of(4), fetch, worker_count=1, clock=clock) as run:
        outcomes = [outcome async for outcome in run]
    assert run.report.totals == {"EUR": Decimal("3.0"), "USD": Decimal("-0.50")}
    assert all(outcome.elapsed_s == 1 for outcome in outcomes)
    assert run.report.elapsed_s == run.report.elapsed_s > 0


async def test_no_slice_begins_after_the_pulls_deadline() -> None:
    """Each slice is told when the pull ends; after that the rest fails without a request."""
    clock, ends_at_s = Clock(), []
    clock.now_s = 100.0

    async def fetch(_: CostQuery, counts: RequestCounts, end_s: float) -> Answer[str]:
        counts.requests += 1
        clock.now_s += 4
        ends_at_s.append(end_s)
        return answer("1")

    async with PullRun(plan_of(5), fetch, worker_count=1, deadline_s=8.0, clock=clock) as run:
        outcomes = [outcome async for outcome in run]
        assert run.report.elapsed_s == 8.0
        clock.now_s += 1
        assert run.report.elapsed_s == 9.0
    clock.now_s += 1
    assert run.report.elapsed_s == 9.0
    assert ends_at_s == [108.0, 108.0]
    assert [outcome.elapsed_s for outcome in outcomes] == [4, 4, 0, 0, 0]
    late = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert {(type(each.error), each.attempts) for each in late} == {(DeadlineExceededError, 0)}
    assert (run.report.ok, run.report.failed, run.report.requests) == (2, 3, 2)
    fresh = PullRun(plan_of(5), fetch, worker_count=1, clock=clock)
    assert (fresh.report.elapsed_s, fresh.report.not_started) == (0.0, 5)


async def test_a_report_is_right_while_the_run_is_open() -> None:
    """Slices in progress count as not started until the run ends, and then as cancelled."""

    async def fetch(query: CostQuery, _: RequestCounts, ___: float) -> Answer[str]:
        if index_of(query):
            await anyio.sleep_forever()
        return EMPTY

    async with PullRun(plan_of(9), fetch, worker_count=3) as run:
        await anext(run)
        await anyio.wait_all_tasks_blocked()
        assert (run.report.empty, run.report.cancelled, run.report.not_started) == (1, 0, 8)
        started = [each.started for each in run.unfinished()]
        assert started == [True] * 3 + [False] * 5
    assert (run.report.empty, run.report.cancelled, run.report.not_started) == (1, 3, 5)
    assert not run.report.complete


async def test_outcomes_are_not_kept() -> None:
    """A run keeps no reference to delivered rows, so that memory does not grow."""

    class Big(list[str]):
        """List that a weak reference can point to."""

    made: list[ref[Big]] = []

    async def fetch(_: CostQuery, __: RequestCounts, ___: float) -> Answer[str]:
        items = Big(["1"])
        made.append(ref(items))
        return Answer(items, None, None, {})

    async with PullRun(plan_of(300), fetch, worker_count=4) as run:
        async for outcome in run:
            assert isinstance(outcome, Fetched)
            assert sum(item_list() is not None for item_list in made) <= 4 * 2 + 4 + 2


async def test_leaving_the_block_ends_another_reader() -> None:
    """A reader in another task gets a result or a ConfigError, and is not cancelled."""
    for steps in range(6):
        run = PullRun(plan_of(4), mixed, worker_count=1)
        async with run:
            reader = asyncio.create_task(anext_of(run))
            for _ in range(steps):
                await asyncio.sleep(0)
        outcome = (await asyncio.gather(reader, return_exceptions=True))[0]
        assert isinstance(outcome, ConfigError | Fetched | Failed)


async def anext_of(run: PullRun[str]) -> Fetched[str] | Failed:
    return await anext(run)


async def test_workers_that_end_early_do_not_complete_the_pull() -> None:
    """A stray cancellation of the workers makes iteration raise instead of end."""

    async def fetch(query: CostQuery, _: RequestCounts, ___: float) -> Answer[str]:
        if index_of(query) == 1:
            raise asyncio.CancelledError
        return EMPTY

    run = PullRun(plan_of(6), fetch, worker_count=2)

    async def pull() -> None:
        async with run:
            async for _ in run:
                pass

    with pytest.raises(SpotBillingError, match="ended before all slices had an outcome"):
        await pull()
    assert adds_up(run.report)
