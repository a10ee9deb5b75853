"""Seeded runs that mix whatever may keep a call from ending at its deadline.

Each run opens a client of a server that is silent, slow, or cut off, and starts calls, pulls and
cached calls with deadlines of their own. Meanwhile it is called from other event loops, threads and
forked children, its token providers hang, and callers are cancelled. A call that passes its
deadline is compared with a control: a timer of the same event loop, set together with the call.
The client is then entered again in another loop, and used in the same way.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import date
from random import Random
from typing import Any, NamedTuple

import anyio.from_thread
import anyio.to_thread
import uvloop

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostPlan,
    Failed,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
    deadline,
)
from spot_billing_async.cache import CostCache
from tests.support import serve_streams

DAY, LAST_DAY = date(2024, 1, 1), date(2024, 1, 9)
LOST_S = 2.0
"""A call that has not ended so long after its deadline never will."""
GOOD = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n{"response":{"items":[],"count":0,"kind":"x"}}'
)


class Findings(NamedTuple):
    """Results of runs.

    Attributes:
        late_s: seconds by which each call that passed its deadline ended after its control, with
            the kind of its caller.
        ends: how often each kind of caller ended in which way.
        problems: one line for each rule that was broken.
    """

    late_s: list[tuple[float, str]]
    ends: Counter[str]
    problems: list[str]


class Deadlines:
    """Run of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  no secret
        self.findings = Findings([], Counter(), [])
        self.limit_s = self.random.uniform(0.02, 0.2)
        self.name = f"seed {seed}"

    def run(self) -> Findings:
        """Use one client in two event loops, one after the other."""
        with_cache = self.random.random() < 0.5
        for _ in range(2):
            kind = self.random.choice(["asyncio", "eager", "uvloop"])
            factory = uvloop.new_event_loop if kind == "uvloop" else asyncio.new_event_loop
            with asyncio.Runner(loop_factory=factory) as runner:
                if sys.version_info >= (3, 12) and kind == "eager":
                    runner.get_loop().set_task_factory(asyncio.eager_task_factory)
                runner.run(self.used(with_cache=with_cache))
        return self.findings

    async def used(self, *, with_cache: bool) -> None:
        """Open the client, and let callers and intruders use it at the same time."""
        async with serve_streams(self.answer) as port:
            config = ClientConfig(
                deadline_s=self.limit_s,
                max_concurrency=self.random.choice([1, 3, 32]),
                retry=RetryPolicy(max_attempts=3, backoff_base_s=0.01),
            )
            base_url = f"http://127.0.0.1:{port}"
            cache = CostCache() if with_cache else None
            async with SpotBillingClient("t", base_url=base_url, config=config, cache=cache) as c:
                callers = [self.random.choice(CALLERS) for _ in range(self.random.randrange(4, 12))]
                intruders = [self.random.choice(INTRUDERS) for _ in range(2)]
                async with asyncio.TaskGroup() as group:
                    for each in [*callers, *intruders]:
                        group.create_task(each(self, c))
                        if self.random.random() < 0.3:
                            await asyncio.sleep(self.random.uniform(0, self.limit_s))
                if c._shared.timer.running:
                    self.findings.problems.append(f"{self.name}: a deadline is still watched")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection, or not."""
        while True:
            await reader.readuntil(b"\r\n\r\n")
            match self.random.randrange(6):
                case 0:
                    writer.write(GOOD)
                case 1:
                    writer.write(GOOD[:60])
                    await reader.read()
                case 2:
                    for byte in GOOD:
                        if writer.is_closing():
                            return
                        writer.write(bytes([byte]))
                        await asyncio.sleep(self.limit_s / 20)
                case 3:
                    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                case _:
                    await reader.read()

    async def timed(
        self, kind: str, call: Callable[[], Awaitable[object]], limit_s: float | None = None
    ) -> None:
        """Await a call, and compare its end with the control."""
        rang_s: list[float] = []
        control = asyncio.get_running_loop().call_later(
            self.limit_s if limit_s is None else min(limit_s, self.limit_s),
            lambda: rang_s.append(time.monotonic()),
        )
        try:
            async with asyncio.timeout(self.limit_s + LOST_S):
                await call()
            end = "answered"
        except SpotBillingError as error:
            end = type(error).__name__
        except TimeoutError:
            end = "lost"
            self.findings.problems.append(f"{self.name}: {kind} passed its deadline")
        finally:
            control.cancel()
        self.findings.ends[f"{kind}: {end}"] += 1
        if rang_s:
            self.findings.late_s.append((time.monotonic() - rang_s[0], kind))


async def bare(run: Deadlines, _: SpotBillingClient) -> None:
    """Wait for `asyncio.timeout` alone: how late that is, is the noise of the machine."""

    async def call() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(run.limit_s):
                await asyncio.sleep(3600)

    await run.timed("bare", call)


async def single(run: Deadlines, client: SpotBillingClient) -> None:
    """Make a call, which the cache may serve."""
    first = DAY.replace(day=run.random.randrange(1, 10))
    await run.timed("single", lambda: client.costs.get("a", first, LAST_DAY))


async def in_block(run: Deadlines, client: SpotBillingClient) -> None:
    """Make a call inside `deadline(...)`."""
    limit_s = run.random.uniform(0.01, 0.3)

    async def call() -> None:
        with deadline(limit_s):
            await client.accounts.list()

    await run.timed("in a block", call, limit_s)


async def pull(run: Deadlines, client: SpotBillingClient) -> None:
    """Pull some slices within one deadline."""
    limit_s = run.random.uniform(0.01, run.limit_s)
    plan = CostPlan.build(["b", "c"], DAY, LAST_DAY, window="day")

    async def call() -> None:
        async with client.costs.pull(plan, deadline_s=limit_s) as pulled:
            outcomes = [outcome async for outcome in pulled]
        if not any(isinstance(each, Failed) for each in outcomes):
            raise AssertionError(run.name)

    await run.timed("pull", call, limit_s)


async def cancelled(run: Deadlines, client: SpotBillingClient) -> None:
    """Cancel a call, and compare its end with the cancellation."""
    task = asyncio.create_task(client.costs.get("a", DAY, LAST_DAY))
    await asyncio.sleep(run.random.uniform(0, 1.2 * run.limit_s))
    was_done, began_s = task.done(), time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    if not was_done:
        run.findings.late_s.append((time.monotonic() - began_s, "cancelled"))
    if not was_done and not task.cancelled():
        run.findings.problems.append(f"{run.name}: the cancellation was lost: {task.exception()!r}")
    elif not task.cancelled():
        task.exception()
    run.findings.ends["cancelled"] += not was_done


async def in_worker_thread(run: Deadlines, client: SpotBillingClient) -> None:
    """Call from a thread by way of the client's loop, as a sync endpoint of FastAPI does."""

    async def call() -> None:
        await run.timed("from a worker thread", client.accounts.list)

    await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(call))


def with_provider(kind: str, provided: Callable[[], Awaitable[str]]) -> "Caller":
    """Make a caller whose views share a token provider."""

    async def caller(run: Deadlines, client: SpotBillingClient) -> None:
        view = client.with_token(provided)
        await run.timed(kind, view.accounts.list)

    return caller


async def hanging() -> str:
    """Return no token for an hour."""
    await asyncio.sleep(3600)
    return "t"


async def stubborn() -> str:
    """Catch the first cancellation, as a careless retry does."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)
    return "t"


async def in_thread() -> str:
    """Return the token of a thread, after some time."""
    await asyncio.to_thread(time.sleep, 0.05)
    return "t"


async def failing() -> str:
    """Fail after some time."""
    await asyncio.sleep(0.03)
    raise OSError("no token")


async def foreign_loop(run: Deadlines, client: SpotBillingClient) -> None:
    """Call the client, and a view whose provider hangs, from the event loop of another thread."""
    view = client.with_token(run.random.choice([hanging, in_thread]))
    for call in (client.accounts.list, view.accounts.list, lambda: client.costs.get("a", DAY, DAY)):
        await asyncio.sleep(run.random.uniform(0, run.limit_s / 3))
        try:
            await asyncio.to_thread(asyncio.run, call())
        except ConfigError:
            run.findings.ends["foreign loop: refused"] += 1
        else:
            run.findings.problems.append(f"{run.name}: a foreign loop was served")


async def forked(run: Deadlines, client: SpotBillingClient) -> None:
    """Fork, and call the client from an event loop of the child."""
    await asyncio.sleep(run.random.uniform(0, run.limit_s))
    child = os.fork()
    if child == 0:  # pragma: no cover  not in this process
        try:
            asyncio.run(client.accounts.list())
        except ConfigError:
            os._exit(0)
        finally:
            os._exit(1)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    run.findings.ends["forked: refused"] += status == 0
    if status:
        run.findings.problems.append(f"{run.name}: a forked child was served, or failed")


Caller = Callable[[Deadlines, SpotBillingClient], Coroutine[Any, Any, None]]

CALLERS: list[Caller] = [
    *(bare, single, single, in_block, pull, cancelled, in_worker_thread),
    with_provider("hanging provider", hanging),
    with_provider("stubborn provider", stubborn),
    with_provider("provider in a thread", in_thread),
    with_provider("failing provider", failing),
]
INTRUDERS: list[Caller] = [foreign_loop, forked]


def run_seeds(seeds: range) -> Findings:
    """Run some seeds, one after the other."""
    found = Findings([], Counter(), [])
    for seed in seeds:
        findings = Deadlines(seed).run()
        found.late_s.extend(findings.late_s)
        found.ends.update(findings.ends)
        found.problems.extend(findings.problems)
    return found
