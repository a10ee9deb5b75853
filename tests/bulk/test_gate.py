"""Waiting of a pull's slices for an API that is away, in simulated time; `fetch` is scripted."""

import asyncio
import random
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot_billing_async import (
    CostPlan,
    CostQuery,
    DeadlineExceededError,
    Failed,
    OutageError,
    PullRun,
    ServerError,
    deadline,
)
from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async._core.pacing.outage import Outages, Scope
from spot_billing_async.bulk.run import Gate
from spot_billing_async.models.results import Answer
from tests.virtual import run_virtually

ORIGIN: Scope = ("connection", None, None)
WORKERS = 8
ATTEMPTS = 4
LATENCY_S = 0.02
DAY = date(2025, 1, 1)


class Server:
    """API that is away in some intervals, and the sender of requests to it.

    Attributes:
        away: intervals as offsets from the beginning, in seconds.
        broken: accounts that it never answers.
        sent_s: times of all requests.
        probing: probes in flight, and the most there were.
    """

    def __init__(self, away: list[tuple[float, float]], broken: frozenset[str]) -> None:
        self.clock = asyncio.get_running_loop().time
        self.began_s = self.clock()
        self.away = away
        self.broken = broken
        self.outages = Outages(self.clock, None, WORKERS)
        self.sent_s: list[float] = []
        self.probing = [0, 0]

    def is_away(self) -> bool:
        """Return whether the API is away now."""
        now_s = self.clock() - self.began_s
        return any(start_s <= now_s < end_s for start_s, end_s in self.away)

    async def fetch(self, query: CostQuery, counts: RequestCounts, _: float) -> Answer[str]:
        """Send a request as the session manager does, without a back-off of its own."""
        while True:
            is_first = counts.is_probe and not counts.requests
            if counts.is_in_pull and not is_first and self.outages.is_closed([ORIGIN]):
                raise OutageError("held back")
            counts.requests += 1
            sent_s = self.clock()
            self.sent_s.append(sent_s - self.began_s)
            fails = self.is_away() or query.account_id in self.broken
            await asyncio.sleep(LATENCY_S / 4 if fails else LATENCY_S)
            if not fails and not self.is_away():
                counts.failed_attempts = 0
                self.outages.on_success(ORIGIN, sent_s)
                return Answer(["1"], "r", None, {})
            error = ServerError(503)
            self.outages.on_failure(ORIGIN, str(query), error, sent_s)
            counts.failed_attempts += 1
            outage = self.outages.worst([ORIGIN])
            assert outage is not None
            is_last = counts.failed_attempts >= ATTEMPTS
            if counts.is_in_pull and not (is_last and counts.was_held_back):
                is_doubtful = is_last and outage.failures >= ATTEMPTS
                if outage.is_closed or is_doubtful:
                    outage.suspect(self.clock())
                    raise OutageError("failed") from error
            if is_last:
                raise error
            await self.outages.back_off(self.clock() + 0.1, (ORIGIN,))

    async def probe(self, query: CostQuery, counts: RequestCounts, ends_s: float) -> Answer[str]:
        """Send a probe."""
        self.probing[0] += 1
        self.probing[1] = max(self.probing)
        try:
            return await self.fetch(query, counts, ends_s)
        finally:
            self.probing[0] -= 1

    def pull(
        self, accounts: list[str], patience_s: float = 600.0, deadline_s: float | None = None
    ) -> PullRun[str]:
        """Make the run of a pull of one day of some accounts."""
        plan = CostPlan.build(accounts, DAY, DAY, "whole")
        gate = Gate(self.outages, (ORIGIN,), patience_s, self.probe)
        return PullRun(
            plan,
            self.fetch,
            worker_count=WORKERS,
            deadline_s=deadline_s,
            clock=self.clock,
            gate=gate,
        )


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(
        st.tuples(st.floats(0.3, 3.0), st.sampled_from([0.05, 0.2, 2.0, 10.0, 60.0])), max_size=3
    ),
    broken=st.integers(0, 20),
    place=st.sampled_from([0, 60, 120]),
    seed=st.integers(0, 99),
)
def test_exactly_the_broken_slices_fail(
    gaps: list[tuple[float, float]], broken: int, place: int, seed: int
) -> None:
    """In any outages, sound slices are fetched, broken ones fail, and probes are single."""

    async def main() -> None:
        away, at_s = [], 0.0
        for up_s, away_s in gaps:
            away.append((at_s + up_s, at_s + up_s + away_s))
            at_s += up_s + away_s
        random.seed(seed)
        accounts = [f"a{n}" for n in range(120)]
        accounts[place:place] = names = [f"b{n}" for n in range(broken)]
        server = Server(away, frozenset(names))
        async with server.pull(accounts) as run:
            failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
        assert sorted(str(each.query.account_id) for each in failed) == sorted(names)
        assert {type(each.error) for each in failed} <= {ServerError}
        assert run.report.ok == 120
        assert run.report.requests == len(server.sent_s)
        assert server.probing[1] <= 1

    run_virtually(main())


def test_few_requests_are_sent_while_the_api_is_away() -> None:
    """An outage of a minute costs a request per worker, and some twenty probes."""

    async def main() -> None:
        server = Server([(0.1, 60.1)], frozenset())
        async with server.pull([f"a{n}" for n in range(200)]) as run:
            async for _ in run:
                pass
        assert run.report.complete
        assert sum(0.1 <= at_s < 60.1 for at_s in server.sent_s) <= WORKERS + 20 + 60
        assert run.report.elapsed_s <= 60.1 + 5.0 + 1.5

    run_virtually(main())


def test_patience_ends() -> None:
    """The slices that are left fail at the end of the patience."""

    async def main() -> None:
        server = Server([(0.1, 9_999.0)], frozenset())
        async with server.pull([f"a{n}" for n in range(200)], patience_s=30.0) as run:
            failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
        assert {type(each.error) for each in failed} == {OutageError}
        assert len(failed) == 200 - run.report.ok
        assert run.report.elapsed_s == pytest.approx(30.1, abs=0.2)

    run_virtually(main())


def test_the_deadline_of_a_pull_ends_the_wait() -> None:
    """The slices that wait for the API fail when the time of the pull is over."""

    async def main() -> None:
        server = Server([(0.1, 9_999.0)], frozenset())
        async with server.pull([f"a{n}" for n in range(200)], deadline_s=30.0) as run:
            failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
        assert {type(each.error) for each in failed} == {DeadlineExceededError}
        assert run.report.elapsed_s == pytest.approx(30.0, abs=0.01)

    run_virtually(main())


def test_the_deadline_of_a_block_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `deadline` around a pull fails the slices that wait for the API."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("spot_billing_async._core.aio.deadline.monotonic", loop.time)
        server = Server([(0.1, 9_999.0)], frozenset())
        with deadline(30.0):
            async with server.pull([f"a{n}" for n in range(200)]) as run:
                failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
        assert {type(each.error) for each in failed} == {DeadlineExceededError}
        assert len(failed) == 200 - run.report.ok

    run_virtually(main())


def test_a_relapse_holds_the_pull_again() -> None:
    """The API fails again as soon as it is back: no slice is lost, and no flood follows."""

    async def main() -> None:
        away = [(0.1 + at_s, 0.1 + at_s + 0.95) for at_s in range(30)]
        server = Server(away, frozenset())
        async with server.pull([f"a{n}" for n in range(200)]) as run:
            async for _ in run:
                pass
        assert run.report.complete
        assert run.report.requests <= 200 + 30 * (2 * WORKERS + 10)

    run_virtually(main())


def test_the_last_slices_end_by_themselves() -> None:
    """A short plan without a success is not held back: there is nothing to compare it with."""

    async def main() -> None:
        server = Server([(0.0, 9_999.0)], frozenset())
        async with server.pull([f"a{n}" for n in range(10)]) as run:
            failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
        assert {type(each.error) for each in failed} == {ServerError}
        assert {each.attempts for each in failed} == {ATTEMPTS}
        assert run.report.elapsed_s < 1.0

    run_virtually(main())
