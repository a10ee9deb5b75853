"""Run of a pull: a fixed number of workers fetch the slices, the caller iterates the outcomes.

One task per slice would hold all slices in memory at once (100,000 slices: 148 MB instead of 3).
Here there are as many workers as requests may be in flight. Each takes the next slice when it is
done with one, and waits while the buffer has no room for its outcome.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from math import inf
from typing import Any, Generic, NamedTuple, TypeVar

import anyio
from msgspec.structs import replace

from spot_billing_async._core.aio.deadline import hard_end_s
from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async._core.pacing.budget import Allowance, RequestCounts
from spot_billing_async._core.pacing.outage import Outage, Outages, Scope
from spot_billing_async.bulk.buffer import OutcomeBuffer
from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport, SliceState, Unfinished
from spot_billing_async.errors import (
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    OutageError,
    SpotBillingError,
)
from spot_billing_async.models import CostQuery
from spot_billing_async.models.money import merge_totals
from spot_billing_async.models.results import Answer

T = TypeVar("T")

Fetch = Callable[[CostQuery, RequestCounts, float], Awaitable[Answer[T]]]
"""Function that fetches a slice and counts its requests; a `SpotBillingError` fails the slice.

The float is the reading of the run's clock at which the whole pull ends; infinite for no limit.
"""

_TOO_LATE = "the pull's deadline passed before this slice began"
_LAST_SLICES = 10  # that end after their own attempts, if no other slice was ever fetched
_KEPT, _PICKS = 64, 8
_BUFFER_PER_WORKER = 2
"""Outcomes that may wait for the reader, per worker: one delivered while the next is fetched."""


class Gate(NamedTuple):
    """Outages that a pull asks about before each slice, and the function that probes them."""

    outages: Outages
    scopes: tuple[Scope, ...]
    patience_s: float
    probe: Fetch[Any]


class PullRun(AsyncIterator[Fetched[T] | Failed], Generic[T]):
    """A pull in progress: an async context manager and an async iterator of outcomes.

    It owns its tasks: leaving the block ends them all. The workers run in a task of the run, not in
    a task group of the caller's task. So no cancel scope reaches into the block, an exception
    raised there is not wrapped in a group, and an async generator may yield from the block. An
    outcome is counted when the caller receives it, so the report never counts a row that the caller
    has not seen. Made by `costs.pull`, which describes the arguments.
    """

    def __init__(
        self,
        plan: Sequence[CostQuery],
        fetch: Fetch[T],
        *,
        worker_count: int,
        ordered: bool = False,
        deadline_s: float | None = None,
        max_requests: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        gate: Gate | None = None,
    ) -> None:
        self._plan = plan
        self._fetch = fetch
        self._clock = clock
        self._deadline_s = inf if deadline_s is None else deadline_s
        self._ends_at_s = inf
        self._allowance = None if max_requests is None else Allowance(max_requests)
        self._worker_count = min(worker_count, len(plan))
        self._slices = iter(range(len(plan)))
        self._states = bytearray(len(plan))
        self._gate = gate
        self._left = len(plan)
        # Latest accounts that failed, and latest queries that did not.
        self._held: deque[str | None] = deque(maxlen=_KEPT)
        self._fetched: deque[CostQuery] = deque(maxlen=_KEPT)
        self._buffer: OutcomeBuffer[tuple[int, Fetched[T] | Failed, Mapping[str, Decimal]]] = (
            OutcomeBuffer(self._worker_count * _BUFFER_PER_WORKER, ordered=ordered)
        )
        self._workers: asyncio.Task[None] | None = None
        self._counts = RequestCounts()
        self._rows = 0
        self._totals: dict[str, Decimal] = {}
        self._started_s: float | None = None
        self._ended_s: float | None = None

    async def __aenter__(self) -> "PullRun[T]":
        if self._workers is not None:
            raise ConfigError("this run was entered before; make another one with costs.pull()")
        self._started_s = self._clock()
        self._ends_at_s = self._started_s + self._deadline_s
        self._workers = asyncio.create_task(self._run_workers())
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._workers is not None  # noqa: S101  entered before it is left
        try:
            self._workers.cancel()
            await until_done(self._workers)
        finally:
            self._ended_s = self._clock()
            # Ends a reader in another task. A task that is cancelled before its first step never
            # reaches its own `finally`.
            self._buffer.close()
        if error is None and not self._workers.cancelled():
            self._workers.result()  # raises a bug of a worker that iteration did not reach

    async def __anext__(self) -> Fetched[T] | Failed:
        if self._workers is None or self._ended_s is not None:
            raise ConfigError("this run is not open; iterate it inside its 'async with'")
        try:
            return self._counted(*await self._buffer.get())
        except StopAsyncIteration:
            await asyncio.wait([self._workers])
            if self._workers.cancelled():
                message = "the block of this run was left; iterate it inside its 'async with'"
                raise ConfigError(message) from None
            self._workers.result()  # raises a bug of a worker
            # A stray cancellation can end the workers early; that must not pass for a full pull.
            if any(self.unfinished()):
                raise SpotBillingError("the pull ended before all slices had an outcome") from None
            raise

    @property
    def report(self) -> PullReport:
        """Current counts of the pull; final once the block is left."""
        count = self._states.count
        over = self._ended_s is not None
        started = count(SliceState.STARTED)
        now_s = self._ended_s if self._ended_s is not None else self._clock()
        return PullReport(
            planned=len(self._plan),
            ok=count(SliceState.OK),
            empty=count(SliceState.EMPTY),
            failed=count(SliceState.FAILED),
            cancelled=started if over else 0,
            not_started=count(SliceState.NOT_STARTED) + (0 if over else started),
            rows=self._rows,
            totals=dict(self._totals),
            requests=self._counts.requests,
            retries=self._counts.retries,
            refusals=self._counts.refusals,
            mismatches=self._counts.mismatches,
            elapsed_s=0.0 if self._started_s is None else now_s - self._started_s,
        )

    def unfinished(self) -> Iterator[Unfinished]:
        """Yield the slices that the caller did not receive, in the plan's order."""
        for index, state in enumerate(self._states):
            if state in {SliceState.NOT_STARTED, SliceState.STARTED}:
                yield Unfinished(self._plan[index], state == SliceState.STARTED)

    async def _run_workers(self) -> None:
        try:
            async with anyio.create_task_group() as workers:
                for _ in range(self._worker_count):
                    workers.start_soon(self._work)
        finally:
            self._buffer.close()

    async def _work(self) -> None:
        for index in self._slices:
            self._states[index] = SliceState.STARTED
            # The result gets no name: a local would keep its rows alive during the next fetch.
            await self._buffer.put(index, await self._fetch_slice(index))

    async def _fetch_slice(
        self, index: int
    ) -> tuple[int, Fetched[T] | Failed, Mapping[str, Decimal]]:
        query = self._plan[index]
        started_s = self._clock()
        counts = RequestCounts(allowance=self._allowance)
        try:
            if started_s >= self._ends_at_s:
                raise DeadlineExceededError(_TOO_LATE)
            answer = await self._answer(query, counts)
            self._fetched.append(query)
        except SpotBillingError as error:
            return index, Failed(query, error, counts.requests, self._clock() - started_s), {}
        finally:
            self._left -= 1
            self._counts.add(counts)  # also if the slice is cancelled: its requests were sent
        elapsed_s = self._clock() - started_s
        outcome = Fetched(query, answer.items, answer.request_id, counts.requests, elapsed_s)
        return index, outcome, answer.totals

    async def _answer(self, query: CostQuery, counts: RequestCounts) -> Answer[T]:
        """Fetch a slice, and again after each outage that it meets."""
        while True:
            # Without a slice to compare them with, the last ones may as well be broken themselves.
            counts.is_in_pull = bool(self._fetched) or self._left > _LAST_SLICES
            outage = await self._pass_gate(self._gate, counts)
            try:
                return await self._fetch(query, counts, self._ends_at_s)
            except OutageError as error:
                self._held.append(query.account_id)
                counts.was_held_back = True
                counts.retries += error.__cause__ is not None
            finally:
                if outage is not None and self._gate is not None:
                    outage.running -= 1
                    self._gate.outages.notify()

    async def _pass_gate(self, gate: Gate | None, counts: RequestCounts) -> Outage | None:
        """Wait while the API is away, and probe it in turns; return an outage that is ending.

        Raises:
            SpotBillingError: the API was away for too long.
        """
        while (
            gate is not None
            and counts.is_in_pull
            and (self._allowance is None or self._allowance.left > 0)
            and (outage := gate.outages.worst(gate.scopes)) is not None
            and outage.state != "up"
        ):
            now_s, ends_at_s = self._clock(), hard_end_s(self._ends_at_s)
            if outage.state == "away":
                counts.failed_attempts, counts.was_held_back = 0, False  # it is to blame
            if now_s >= ends_at_s:
                raise DeadlineExceededError(_TOO_LATE)
            if outage.start():
                return outage
            if outage.is_closed:
                if outage.start_probe(now_s):
                    await self._probe(gate, outage)
                    continue
                waits_since_s = max(outage.since_s, self._started_s or 0.0)
                if now_s - waits_since_s >= gate.patience_s:
                    away_s = now_s - outage.since_s
                    message = f"the API has been unavailable for {away_s:.1f} s ({outage.error})"
                    raise OutageError(message)
                probe_at_s = inf if outage.is_probing else outage.probe_at_s
                ends_at_s = min(ends_at_s, waits_since_s + gate.patience_s, probe_at_s)
            await gate.outages.wait(ends_at_s - now_s)
        return None

    async def _probe(self, gate: Gate, outage: Outage) -> None:
        """Ask for one day of a slice that was fetched, or of any one.

        Preferably not of an account that has just failed: no broken query keeps an outage alive.
        """
        picks = [*self._fetched, *random.choices(self._plan, k=_PICKS)]  # noqa: S311  no secret
        random.shuffle(picks)
        query = min(picks, key=lambda each: each.account_id in self._held)
        self._held.append(query.account_id)
        if query.from_date is not None and query.to_date is not None:
            query = replace(query, to_date=query.from_date)
        counts = RequestCounts(
            allowance=self._allowance,
            is_in_pull=True,
            is_probe=True,
            failed_probes=outage.failed_probes,
        )
        try:
            with suppress(SpotBillingError):  # the sender has recorded it
                await gate.probe(query, counts, self._ends_at_s)
        finally:
            gate.outages.end_probe(outage)
            self._counts.add(counts)

    def _counted(
        self, index: int, outcome: Fetched[T] | Failed, totals: Mapping[str, Decimal]
    ) -> Fetched[T] | Failed:
        """Count an outcome and return it; a slice that would round the total becomes `Failed`."""
        try:
            self._totals = merge_totals(self._totals, totals)
        except ArithmeticError:
            error = DecodeError("the amounts cannot be added to the pull's total without rounding")
            outcome = Failed(outcome.query, error, outcome.attempts, outcome.elapsed_s)
        if isinstance(outcome, Failed):
            self._states[index] = SliceState.FAILED
        else:
            self._states[index] = SliceState.OK if outcome.items else SliceState.EMPTY
            self._rows += len(outcome.items)
        return outcome
