"""Seeded scenarios in which pulls and calls are cut short at random moments.

They run over real sockets against an emulator in a process of its own that is slow, faulty, paged
and has a quota. The seed decides what is cut short, how, and after how long. After each scenario no
task, connection in use, permit or warning is left, the report adds up, and the client still works.
"""

import asyncio
import gc
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import date
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import aiohttp
import anyio

from spot_billing_async import (
    ClientConfig,
    CostPlan,
    PullRun,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async._core.pacing.limiter import RouteLimiter
from tests.support_processes import TOKEN, emulator_process

OPTIONS = (
    *("--latency", "4ms±4ms", "--faults", "0.1", "--page-size", "3"),
    *("--rate-limit", "400/1s", "--capacity", "24", "--seed", "1"),
)
DAY = date(2024, 1, 1)
PATIENT = RetryPolicy(
    max_attempts=20, backoff_base_s=0.004, backoff_cap_s=0.05, budget_reserve=10_000
)

MOMENTS = {
    "Credential.token": "token",
    "_read_body": "body",
    "ClientResponse.start": "first byte",
    "BaseConnector.connect": "connecting",
    "Transport.exchange": "sending",
    "Admission.wait": "queue",
    "SessionManager.send": "backoff",
    "OutcomeBuffer.put": "writing an outcome",
    "OutcomeBuffer.get": "reading an outcome",
}
"""Names for the coroutines in which a task may be suspended; the innermost known one counts."""


class CallerError(Exception):
    """An exception that a caller raises inside the block of a pull."""


def write_bill(folder: Path) -> Path:
    """Write a bill whose day has four pages of three rows."""
    rows = [f"0.{i + 1},a1,USD,{DAY}T00:00:00Z,AWS,Service {i}" for i in range(10)]
    heading = "BilledCost,BillingAccountId,BillingCurrency,ChargePeriodStart,ProviderName"
    path = folder / "bill.csv"
    path.write_text("\n".join([f"{heading},ServiceName", *rows, ""]))
    return path


@contextmanager
def emulator_server() -> Iterator[str]:
    """Run the emulator of these scenarios; yields its base URL."""
    with (
        tempfile.TemporaryDirectory() as folder,
        emulator_process(*OPTIONS, bills=[write_bill(Path(folder))]) as base_url,
    ):
        yield base_url


class Scenario:
    """A client, and random choices for what it does and when that is cut short.

    Attributes:
        random: the source of all choices.
        runs: the pulls that were started.
        moments: how often a cancellation met a task in each of `MOMENTS`.
        client: the client.
    """

    def __init__(self, base_url: str, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  a seeded scenario, no secret
        # By name: then a cancellation may also meet the look-up of the host.
        by_name = base_url.replace("127.0.0.1", "localhost")
        self.base_url = by_name if self.one_in(5) else base_url
        self.runs: list[PullRun[Any]] = []
        self.moments: Counter[str] = Counter()
        self.client = self._client()

    def _client(self) -> SpotBillingClient:
        concurrency = self.random.choice([1, 2, 8, 32])
        config = ClientConfig(max_concurrency=concurrency, retry=PATIENT)
        token = self._token if self.one_in(3) else TOKEN
        hook = (lambda _: None) if self.one_in(2) else None
        return SpotBillingClient(token, base_url=self.base_url, config=config, hook=hook)

    def one_in(self, count: int) -> bool:
        """Return True with a probability of 1 / `count`."""
        return not self.random.randrange(count)

    async def _token(self) -> str:
        await asyncio.sleep(self.random.choice([0, 0.001]))
        return TOKEN

    async def delay(self) -> None:
        """Wait for up to 40 iterations of the event loop, or for up to 0.3 s."""
        if self.one_in(3):
            for _ in range(self.random.randrange(40)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.seconds())

    def seconds(self) -> float:
        """Return 0.1 ms to 0.3 s, each order of magnitude with the same probability."""
        return float(10 ** self.random.uniform(-4, -0.5))

    async def pull(self, outcomes: int | None = None, error: Exception | None = None) -> None:
        """Pull a plan of random size.

        Args:
            outcomes: leave the block after this number of outcomes; None to read them all.
            error: an exception to leave the block by.
        """
        accounts = [f"a{i}" for i in range(1, 1 + self.random.choice([1, 5, 300]))]
        plan = CostPlan.build(accounts, DAY, DAY, "day", "service")
        deadline_s = self.seconds() if self.one_in(5) else None
        run = self.client.costs.pull(plan, ordered=self.one_in(3), deadline_s=deadline_s)
        self.runs.append(run)
        async with run:
            async for _ in run:
                if outcomes == 0:
                    if error is not None:
                        raise error
                    break
                outcomes = None if outcomes is None else outcomes - 1

    async def calls(self) -> None:
        """Make one to five calls concurrently."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.random.randrange(1, 6)):
                group.create_task(self.client.costs.get("a1", DAY, DAY, "service"))

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a task, and count where all tasks are suspended at that moment."""
        self.moments.update(moment for each in asyncio.all_tasks() if (moment := moment_of(each)))
        task.cancel()


def moment_of(task: asyncio.Task[Any]) -> str | None:
    """Return the name of the innermost known coroutine in which a task is suspended."""
    moment: str | None = None
    inner: object = task.get_coro()
    while inner is not None:
        code = getattr(inner, "cr_code", None)
        moment = MOMENTS.get(code.co_qualname, moment) if code is not None else moment
        inner = getattr(inner, "cr_await", None)
    return moment


async def run_cancelled(
    scenario: Scenario, work: Callable[[], Awaitable[None]], *, twice: bool
) -> None:
    """Run work in a task that is cancelled; `twice` cancels it again before it has ended."""

    async def worker() -> None:
        await work()

    task = asyncio.create_task(worker())
    await scenario.delay()
    scenario.cancel(task)
    if twice:
        for _ in range(scenario.random.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    with suppress(asyncio.CancelledError):
        task.result()


async def cancel_pull(scenario: Scenario) -> None:
    """Cancel the caller's task during a pull."""
    await run_cancelled(scenario, scenario.pull, twice=False)


async def cancel_pull_twice(scenario: Scenario) -> None:
    """Cancel the caller's task again while it handles its first cancellation."""
    await run_cancelled(scenario, scenario.pull, twice=True)


async def cancel_calls(scenario: Scenario) -> None:
    """Cancel the caller's task during single calls."""
    await run_cancelled(scenario, scenario.calls, twice=scenario.one_in(3))


async def end_scope(scenario: Scenario) -> None:
    """End a pull by an anyio cancel scope."""
    with anyio.move_on_after(scenario.seconds()):
        await scenario.pull()


async def end_timeout(scenario: Scenario) -> None:
    """End a pull or calls by an asyncio timeout."""
    with suppress(TimeoutError):
        async with asyncio.timeout(scenario.seconds()):
            await (scenario.calls() if scenario.one_in(3) else scenario.pull())


async def leave_by_break(scenario: Scenario) -> None:
    """Leave the block of a pull after a few outcomes."""
    await scenario.pull(outcomes=scenario.random.randrange(6))


async def leave_by_error(scenario: Scenario) -> None:
    """Leave the block of a pull by an exception."""
    with suppress(CallerError):
        await scenario.pull(outcomes=scenario.random.randrange(6), error=CallerError())


async def cancel_while_leaving(scenario: Scenario) -> None:
    """Cancel the caller's task at about the time when it leaves the block of a pull."""
    outcomes = scenario.random.randrange(3)
    await run_cancelled(scenario, lambda: scenario.pull(outcomes), twice=False)


async def close_client(scenario: Scenario) -> None:
    """Close the client, and open it again, while a pull runs in another task."""
    task = asyncio.create_task(scenario.pull())
    await scenario.delay()
    await scenario.client.__aexit__(None, None, None)
    await asyncio.wait([task])
    with suppress(SpotBillingError):
        task.result()
    await scenario.client.__aenter__()


WAYS: tuple[Callable[[Scenario], Awaitable[None]], ...] = (
    *(cancel_pull, cancel_pull_twice, cancel_calls, end_scope, end_timeout, leave_by_break),
    *(leave_by_error, cancel_while_leaving, close_client),
)


class Findings(NamedTuple):
    """Results of scenarios.

    Attributes:
        problems: one line for each rule that was broken.
        moments: how often a cancellation met a task in each of `MOMENTS`.
    """

    problems: list[str]
    moments: Counter[str]


async def run_scenario(base_url: str, seed: int) -> Findings:
    """Run the scenario of one seed with a client of its own."""
    scenario = Scenario(base_url, seed)
    way = WAYS[seed % len(WAYS)]
    problems: list[str] = []
    async with collected_complaints(problems):
        before = asyncio.all_tasks()
        async with scenario.client as client:
            await way(scenario)
            problems += leaks(client, before)
            assert await client.costs.get("a1", DAY, DAY, "service")
            problems += leaks(client, before)
        problems += (f"task: {task}" for task in asyncio.all_tasks() - before)
        for run in scenario.runs:
            report = run.report
            ended = report.ok + report.empty + report.failed
            if report.planned != ended + report.cancelled + report.not_started:
                problems.append(f"report: {report}")
    return Findings([f"seed {seed}, {way.__name__}: {each}" for each in problems], scenario.moments)


def leaks(client: SpotBillingClient, before: set[asyncio.Task[Any]]) -> Iterator[str]:
    """Yield a line for each task, connection or permit that is still held.

    The look-up of a host name is not a leak: calls share its task, its result is cached, and
    closing the client ends it.
    """
    shared = client._shared
    session = shared.transport.session
    connector = None if session is None else session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    for task in asyncio.all_tasks() - before - connector._resolve_host_tasks:
        yield f"task: {task}"
    if connector._acquired:
        yield f"connections: {len(connector._acquired)}"
    admission = shared.admission
    if admission.limit.in_flight or admission._queues or admission._timers:
        yield f"permits: {admission.limit.in_flight}, {admission._queues}, {admission._timers}"
    for limiter in list(shared._limiters.values()):
        assert isinstance(limiter, RouteLimiter)
        if limiter._window.in_flight:
            yield f"limiter: {limiter._window.in_flight} in flight"


@asynccontextmanager
async def collected_complaints(problems: list[str]) -> AsyncIterator[None]:
    """Add warnings, and errors that the event loop or the garbage collector reports, to a list."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(f"loop: {context['message']}"))
    previous_hook = sys.unraisablehook
    sys.unraisablehook = lambda error: problems.append(f"unraisable: {error.exc_value!r}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            await asyncio.sleep(0)  # some transports close in the next iteration of the loop
            gc.collect()
        problems += [f"warning: {each.message}" for each in caught]
    finally:
        sys.unraisablehook = previous_hook
        loop.set_exception_handler(None)


async def run_scenarios(base_url: str, seeds: range) -> Findings:
    """Run the scenarios of some seeds, one after the other."""
    problems: list[str] = []
    moments: Counter[str] = Counter()
    for seed in seeds:
        found = await run_scenario(base_url, seed)
        problems += found.problems
        moments += found.moments
    return Findings(problems, moments)
