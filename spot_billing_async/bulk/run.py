"""The pull itself: a fixed crew of workers walks through the plan, the caller through the outcomes.

A task a slice would be the obvious shape and cost the memory of all of them at once. Here the crew
is as large as the number of requests that may be on the wire, each worker takes the next slice when
it is done with one, and nothing is fetched that nobody has room for.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from math import inf
from types import TracebackType
from typing import Generic, TypeVar

import anyio

from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async._core.pacing.budget import Allowance, RequestCounts
from spot_billing_async.bulk.buffer import OutcomeBuffer
from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport, SliceState, Unfinished
from spot_billing_async.errors import (
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    SpotBillingError,
)
from spot_billing_async.models import CostQuery
from spot_billing_async.models.money import merge_totals
from spot_billing_async.models.results import Answer

T = TypeVar("T")

Fetch = Callable[[CostQuery, RequestCounts, float], Awaitable[Answer[T]]]
"""Asks one slice, counting its requests as they are sent; a `SpotBillingError` fails the slice.

The number is the reading of the run's clock at which the whole pull ends; infinite for never.
"""

_PLACES_A_WORKER = 2


class PullRun(AsyncIterator[Fetched[T] | Failed], Generic[T]):
    """A pull in progress: an async context manager and an async iterator of outcomes.

    It owns its tasks: leaving the block, in whatever way, ends them all. They hang on a task of the
    run's own, not on the caller's: no cancel scope reaches into the block, so what is raised there
    passes unchanged, and an async generator may yield from it. An outcome counts when it is handed
    over, so the report never holds a row that the caller has not seen.

    Args:
        plan: what to ask.
        fetch: how a slice is asked.
        crew_size: how many slices are asked at once.
        ordered: hand outcomes over in the plan's order rather than as they finish.
        deadline_s: seconds for the whole pull; None for no limit. Slices that are not done by then
            fail.
        max_requests: requests sent at most, retries and pages included; None for no limit. Slices
            that have no request left fail.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        plan: Sequence[CostQuery],
        fetch: Fetch[T],
        *,
        crew_size: int,
        ordered: bool = False,
        deadline_s: float | None = None,
        max_requests: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._fetch = fetch
        self._clock = clock
        self._deadline_s = inf if deadline_s is None else deadline_s
        self._ends_at_s = inf
        self._allowance = None if max_requests is None else Allowance(max_requests)
        self._crew_size = min(crew_size, len(plan))
        self._slices = iter(range(len(plan)))
        self._states = bytearray(len(plan))
        self._handover: OutcomeBuffer[tuple[int, Fetched[T] | Failed, Answer[T] | None]] = (
            OutcomeBuffer(self._crew_size * _PLACES_A_WORKER, ordered=ordered)
        )
        self._crew: asyncio.Task[None] | None = None
        self._tally = RequestCounts()
        self._rows = 0
        self._totals: dict[str, Decimal] = {}
        self._started_s: float | None = None
        self._ended_s: float | None = None

    async def __aenter__(self) -> "PullRun[T]":
        if self._crew is not None:
            raise ConfigError("run: it was entered before; allowed: one 'async with' for each pull")
        self._started_s = self._clock()
        self._ends_at_s = self._started_s + self._deadline_s
        self._crew = asyncio.create_task(self._run_crew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._crew is not None  # noqa: S101  entered before it is left
        try:
            self._crew.cancel()
            await until_done(self._crew)
        finally:
            self._ended_s = self._clock()
            self._handover.close()  # for who else still reads: the crew may not even have begun
        if error is None and not self._crew.cancelled():
            self._crew.result()  # a bug that nobody has met while iterating

    def __aiter__(self) -> "PullRun[T]":
        return self

    async def __anext__(self) -> Fetched[T] | Failed:
        if self._crew is None or self._ended_s is not None:
            raise ConfigError("run: it is not open; allowed: iterating inside its 'async with'")
        try:
            index, outcome, answer = await self._handover.get()
        except StopAsyncIteration:
            await asyncio.wait([self._crew])
            self._require_whole_plan(self._crew)
            raise
        return self._book(index, outcome, answer)

    @property
    def report(self) -> PullReport:
        """The books as they stand; final once the block is left."""
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
            requests=self._tally.requests,
            retries=self._tally.retries,
            refusals=self._tally.refusals,
            elapsed_s=0.0 if self._started_s is None else now_s - self._started_s,
        )

    def unfinished(self) -> Iterator[Unfinished]:
        """The slices that were not handed over, in the plan's order: cancelled or never started."""
        for index, state in enumerate(self._states):
            if state in {SliceState.NOT_STARTED, SliceState.STARTED}:
                yield Unfinished(self._plan[index], state == SliceState.STARTED)

    def _require_whole_plan(self, crew: asyncio.Task[None]) -> None:
        """See that iteration ends because the plan does, and not with the crew."""
        if crew.cancelled():
            raise ConfigError("run: its block was left; allowed: iterating inside its 'async with'")
        crew.result()  # a bug in a worker
        if any(True for _ in self.unfinished()):
            raise SpotBillingError("the pull ended before its plan did")

    async def _run_crew(self) -> None:
        try:
            async with anyio.create_task_group() as workers:
                for _ in range(self._crew_size):
                    workers.start_soon(self._work)
        finally:
            self._handover.close()

    async def _work(self) -> None:
        for index in self._slices:
            self._states[index] = SliceState.STARTED
            # No name is given to what comes: it would keep the rows until the next ones are there.
            await self._handover.put(index, (index, *await self._ask(self._plan[index])))

    async def _ask(self, query: CostQuery) -> tuple[Fetched[T] | Failed, Answer[T] | None]:
        started_s = self._clock()
        tally = RequestCounts(allowance=self._allowance)
        try:
            if started_s >= self._ends_at_s:
                raise DeadlineExceededError("the pull's deadline passed before this slice's turn")
            answer = await self._fetch(query, tally, self._ends_at_s)
        except SpotBillingError as error:
            return Failed(query, error, tally.requests, self._clock() - started_s), None
        finally:
            self._tally.add(tally)
        elapsed_s = self._clock() - started_s
        return Fetched(query, answer.items, answer.request_id, tally.requests, elapsed_s), answer

    def _book(
        self, index: int, outcome: Fetched[T] | Failed, answer: Answer[T] | None
    ) -> Fetched[T] | Failed:
        """Count an outcome; a slice whose amounts cannot be added to the total is a failed one."""
        if answer is None:
            self._states[index] = SliceState.FAILED
            return outcome
        try:
            self._totals = merge_totals(self._totals, answer.totals)
        except ArithmeticError:
            self._states[index] = SliceState.FAILED
            error = DecodeError("the amounts cannot be added to the pull's total without rounding")
            return Failed(outcome.query, error, outcome.attempts, outcome.elapsed_s)
        self._states[index] = SliceState.OK if answer.items else SliceState.EMPTY
        self._rows += len(answer.items)
        return outcome
