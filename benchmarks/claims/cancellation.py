"""Pulls and calls cut short at random moments.

Run: `python -m benchmarks.claims.cancellation [--quick]`.

Over real sockets, against the emulator in a process of its own that is slow, faulty, paged and has
a quota. Each run is made by its seed: what is cut short, in which way, after how long. After each:
no task is left, no connection in use, no place taken, no warning given, the report adds up, and the
client still answers.
"""

import asyncio
import gc
import sys
import tempfile
import time
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

from benchmarks.harness.opponent import TOKEN, opponent
from benchmarks.harness.quick import is_quick
from spot_billing_async import (
    ClientConfig,
    CostPlan,
    PullRun,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async._core.pacing.limiter import RouteLimiter

RUNS, QUICK_RUNS = 1000, 100
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
    "Admission.wait": "in line",
    "SessionManager.send": "backoff",
    "OutcomeBuffer.put": "handing over",
    "OutcomeBuffer.get": "reading",
}
"""Where a task may be met, by what it is waiting in; the innermost that is known counts."""


class Abandoned(Exception):  # noqa: N818  what a caller raises in the midst of a pull
    """The caller's own exception."""


def bill(folder: Path) -> Path:
    """A bill of four pages a day."""
    rows = [f"0.{i + 1},a1,USD,{DAY}T00:00:00Z,AWS,Service {i}" for i in range(10)]
    heading = "BilledCost,BillingAccountId,BillingCurrency,ChargePeriodStart,ProviderName"
    path = folder / "bill.csv"
    path.write_text("\n".join([f"{heading},ServiceName", *rows, ""]))
    return path


@contextmanager
def server() -> Iterator[str]:
    """The opponent of these runs; yields its base URL."""
    with (
        tempfile.TemporaryDirectory() as folder,
        opponent(*OPTIONS, bills=[bill(Path(folder))]) as base_url,
    ):
        yield base_url


class Scene:
    """One run: a client, what it is asked for, and the moment at which that is cut short."""

    def __init__(self, base_url: str, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311  a seeded trace, no secret
        by_name = base_url.replace("127.0.0.1", "localhost")
        self.base_url = by_name if self.one_in(5) else base_url
        self.runs: list[PullRun[Any]] = []
        self.moments: Counter[str] = Counter()
        self.client = self._client()

    def _client(self) -> SpotBillingClient:
        concurrency = self.chance.choice([1, 2, 8, 32])
        config = ClientConfig(max_concurrency=concurrency, retry=PATIENT)
        token = self._token if self.one_in(3) else TOKEN
        hook = (lambda _: None) if self.one_in(2) else None
        return SpotBillingClient(token, base_url=self.base_url, config=config, hook=hook)

    def one_in(self, several: int) -> bool:
        """True once in so many times."""
        return not self.chance.randrange(several)

    async def _token(self) -> str:
        await asyncio.sleep(self.chance.choice([0, 0.001]))
        return TOKEN

    async def delay(self) -> None:
        """Wait for the moment: a few turns of the loop, or some time."""
        if self.one_in(3):
            for _ in range(self.chance.randrange(40)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.seconds())

    def seconds(self) -> float:
        """From 0.1 ms to 0.3 s, each order of magnitude as likely as the next."""
        return float(10 ** self.chance.uniform(-4, -0.5))

    async def pull(self, outcomes: int | None = None, error: Exception | None = None) -> None:
        """Pull; after so many outcomes leave the block, by the error where there is one."""
        accounts = [f"a{i}" for i in range(1, 1 + self.chance.choice([1, 5, 300]))]
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
        """Several calls side by side."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.chance.randrange(1, 6)):
                group.create_task(self.client.costs.get("a1", DAY, DAY, "service"))

    def cut(self, task: asyncio.Task[None]) -> None:
        """Cancel a task, and note where this meets it and the tasks that it waits for."""
        self.moments.update(moment for each in asyncio.all_tasks() if (moment := moment_of(each)))
        task.cancel()


def moment_of(task: asyncio.Task[Any]) -> str | None:
    """What a task is in the midst of."""
    met: str | None = None
    inner: object = task.get_coro()
    while inner is not None:
        code = getattr(inner, "cr_code", None)
        met = MOMENTS.get(code.co_qualname, met) if code is not None else met
        inner = getattr(inner, "cr_await", None)
    return met


async def cancelled(scene: Scene, work: Callable[[], Awaitable[None]], *, again: bool) -> None:
    """The task is cancelled, perhaps a second time before it has ended."""

    async def worker() -> None:
        await work()

    task = asyncio.create_task(worker())
    await scene.delay()
    scene.cut(task)
    if again:
        for _ in range(scene.chance.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    with suppress(asyncio.CancelledError):
        task.result()


async def a_task(scene: Scene) -> None:
    """The caller's task is cancelled in a pull."""
    await cancelled(scene, scene.pull, again=False)


async def twice(scene: Scene) -> None:
    """It is cancelled again while the first cancellation is dealt with."""
    await cancelled(scene, scene.pull, again=True)


async def single_calls(scene: Scene) -> None:
    """The caller's task is cancelled in single calls."""
    await cancelled(scene, scene.calls, again=scene.one_in(3))


async def a_scope(scene: Scene) -> None:
    """A cancel scope of anyio ends."""
    with anyio.move_on_after(scene.seconds()):
        await scene.pull()


async def a_timeout(scene: Scene) -> None:
    """A timeout of asyncio ends."""
    with suppress(TimeoutError):
        async with asyncio.timeout(scene.seconds()):
            await (scene.calls() if scene.one_in(3) else scene.pull())


async def a_break(scene: Scene) -> None:
    """The block is left after some outcomes."""
    await scene.pull(outcomes=scene.chance.randrange(6))


async def an_error(scene: Scene) -> None:
    """The block is left by an exception."""
    with suppress(Abandoned):
        await scene.pull(outcomes=scene.chance.randrange(6), error=Abandoned())


async def while_leaving(scene: Scene) -> None:
    """The task is cancelled about when it leaves the block."""
    outcomes = scene.chance.randrange(3)
    await cancelled(scene, lambda: scene.pull(outcomes), again=False)


async def the_client(scene: Scene) -> None:
    """The client is left, and entered again, while a pull in another task is on its way."""
    task = asyncio.create_task(scene.pull())
    await scene.delay()
    await scene.client.__aexit__(None, None, None)
    await asyncio.wait([task])
    with suppress(SpotBillingError):
        task.result()
    await scene.client.__aenter__()


WAYS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    *(a_task, twice, single_calls, a_scope, a_timeout, a_break, an_error),
    *(while_leaving, the_client),
)


class Findings(NamedTuple):
    """What was wrong after a run, a line each, and the moments at which it was cut short."""

    wrong: list[str]
    moments: Counter[str]


async def one(base_url: str, seed: int) -> Findings:
    """Make the run of a seed, in a client of its own."""
    scene = Scene(base_url, seed)
    way = WAYS[seed % len(WAYS)]
    wrong: list[str] = []
    async with noticed(wrong):
        before = asyncio.all_tasks()
        async with scene.client as client:
            await way(scene)
            wrong += what_is_left(client, before)
            assert await client.costs.get("a1", DAY, DAY, "service")
            wrong += what_is_left(client, before)
        wrong += (f"task: {task}" for task in asyncio.all_tasks() - before)
        for run in scene.runs:
            report = run.report
            ended = report.ok + report.empty + report.failed
            if report.planned != ended + report.cancelled + report.not_started:
                wrong.append(f"report: {report}")
    return Findings([f"seed {seed}, {way.__name__}: {each}" for each in wrong], scene.moments)


def what_is_left(client: SpotBillingClient, before: set[asyncio.Task[Any]]) -> Iterator[str]:
    """Tasks, connections and places that should be free again.

    A look-up of the server's name is the connector's own: calls share it, its result is kept, and
    closing the client ends it.
    """
    # ruff: noqa: SLF001  there is no public way to see a leak
    connections = client._shared
    session = connections.transport.session
    connector = None if session is None else session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    for task in asyncio.all_tasks() - before - connector._resolve_host_tasks:
        yield f"task: {task}"
    if connector._acquired:
        yield f"connections: {len(connector._acquired)}"
    admission = connections.admission
    if admission.limit.in_flight or admission._queues or admission._timers:
        yield f"places: {admission.limit.in_flight}, {admission._queues}, {admission._timers}"
    for limiter in [entry.limiter for entry in client._shared.limiters._entries.values()]:
        assert isinstance(limiter, RouteLimiter)
        if limiter._window.in_flight:
            yield f"limiter: {limiter._window.in_flight} under way"


@asynccontextmanager
async def noticed(wrong: list[str]) -> AsyncIterator[None]:
    """Add to the list whatever Python warns of, or the loop or the garbage collector complains."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: wrong.append(f"loop: {context['message']}"))
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda met: wrong.append(f"unraisable: {met.exc_value!r}")
    try:
        with warnings.catch_warnings(record=True) as met:
            warnings.simplefilter("always")
            yield
            await asyncio.sleep(0)  # for what closes in the loop's next turn
            gc.collect()
        wrong += [f"warning: {each.message}" for each in met]
    finally:
        sys.unraisablehook = unraisable
        loop.set_exception_handler(None)


async def many(base_url: str, seeds: range) -> Findings:
    """The runs of some seeds, one after the other."""
    wrong: list[str] = []
    moments: Counter[str] = Counter()
    for seed in seeds:
        found = await one(base_url, seed)
        wrong += found.wrong
        moments += found.moments
    return Findings(wrong, moments)


def main() -> None:
    """Print what was found, kind by kind, beside the bar of none; exit 1 if anything was."""
    runs = QUICK_RUNS if is_quick(__doc__) else RUNS
    began_s = time.monotonic()
    with server() as base_url:
        found = asyncio.run(many(base_url, range(runs)))
    kinds = Counter(line.split(": ")[1] for line in found.wrong)
    print(f"{runs} seeded runs in {time.monotonic() - began_s:.0f} s")
    print("met in the midst of: " + ", ".join(f"{k} {n}" for k, n in found.moments.most_common()))
    print(f"{'left over':12} {'runs':>6} {'bar':>6}")
    for kind in (
        "task",
        "connections",
        "places",
        "gate",
        "warning",
        "loop",
        "unraisable",
        "report",
    ):
        print(f"{kind:12} {kinds[kind]:>6} {0:>6}")
    print("\n".join(found.wrong[:20]))
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
