"""One run of a client against the opponent: 200 slices and 50 single calls of two tenants.

An accepted answer is wrong if its rows are not those of its query. It is told apart if the URL, an
account or a date in it contradicts the request that it was taken for: `contradictions` states the
rule for the two requests in question and for the form of the run's answers, whatever the item type
decodes of them. None of these may be accepted. Of the others, none may have arrived while its
connection was idle, and none on a kept connection where connections are not reused.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import msgspec

from spot_billing_async import (
    ClientConfig,
    CostItem,
    CostPlan,
    Failed,
    PullReport,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async.cache import CostCache
from spot_billing_async.client import TenantClient
from spot_billing_async.models import GROUP_BY, CostQuery
from spot_billing_async.telemetry import CallEnded, Event, RequestEnded
from tests.hostile.answers import Answer, Answers, Asked, Style, contradictions, parts
from tests.hostile.opponent import FAULTS, ON_KEPT, Fault, Opponent

TENANTS = ("token-of-tenant-a-31f0", "token-of-tenant-b-92cc")
COMMON = ("act-common-1", "act-common-2", "4455", "/subscriptions/0b7c-11/a b+c&d=é%")
OWN = (
    ("act-a1", "act-a2", "011254002932", "77", "act-a5", "act-a6"),
    ("act-b1", "ACT-A1", "11254002932", "78", "act-b5", "act-b6"),
)
FIRST, LAST, WINDOW_DAYS = date(2025, 1, 1), date(2025, 1, 30), 3
SINGLES, LEFT = 25, 5
RETRY = RetryPolicy(
    backoff_base_s=0.001, backoff_cap_s=0.002, budget_share=1.0, budget_reserve=1000
)

_Work = Callable[[TenantClient, str, tuple[str, ...]], Coroutine[Any, Any, PullReport | int]]


class Amount(msgspec.Struct, frozen=True):
    """A caller's own item type, without account and date."""

    cost: Decimal
    currency: str | None = None


@dataclass(frozen=True)
class Setting:
    """Random settings of a run.

    Attributes:
        style: form of the answers.
        faults: kinds of faults.
        share: share of requests with a fault.
        reuse: whether connections are reused.
        cached: whether there is a cache; then answers have one page.
        item_type: type of the rows.
        concurrency: most requests at once.
    """

    style: Style
    faults: tuple[Fault, ...]
    share: float
    reuse: bool
    cached: bool
    item_type: type[Any]
    concurrency: int

    @classmethod
    def drawn(cls, chance: Random, *, reuse: bool) -> "Setting":
        """Return random settings."""
        style = Style.drawn(chance)
        return cls(
            style=style,
            faults=tuple(chance.sample(FAULTS, chance.randint(1, len(FAULTS)))),
            share=chance.uniform(0.03, 0.2),
            reuse=reuse,
            cached=style.pages == 1 and chance.random() < 0.3,
            item_type=chance.choice((CostItem, CostItem, Amount)),
            concurrency=chance.choice((1, 2, 8, 32)),
        )


@dataclass
class Result:
    """Result of runs.

    Attributes:
        accepted: number of accepted answers.
        told: wrong ones although something in them tells it.
        strays: wrong ones that arrived while the connection was idle, or on a kept one where none
            is reused.
        untold: other wrong ones, by the fault.
        lost: queries that failed.
        sums: contradictions in reports and events.
        requests: number of requests that the client sent.
        mismatches: number of answers that were asked again, by kind.
        faults: number of faults by kind.
    """

    accepted: int = 0
    told: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    untold: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    sums: list[str] = field(default_factory=list)
    requests: int = 0
    mismatches: Counter[str] = field(default_factory=Counter)
    faults: Counter[Fault] = field(default_factory=Counter)

    def add(self, other: "Result") -> None:
        """Add the result of another run."""
        self.accepted += other.accepted
        self.requests += other.requests
        self.told += other.told
        self.strays += other.strays
        self.lost += other.lost
        self.sums += other.sums
        self.untold += other.untold
        self.mismatches += other.mismatches
        self.faults += other.faults


class Contest:
    """A run: the server, the client, and what of the client's answers is wrong."""

    def __init__(self, seed: int, *, reuse: bool) -> None:
        self._chance = Random(seed)  # noqa: S311  a seeded test
        self.setting = setting = Setting.drawn(self._chance, reuse=reuse)
        defaults = {token: own[0] for token, own in zip(TENANTS, OWN, strict=True)}
        self._answers = Answers(setting.style, defaults)
        self._server = Opponent(self._answers, setting.faults, setting.share, self._chance)
        self._calls: dict[int, CallEnded] = {}
        self._sent: dict[int, list[RequestEnded]] = {}
        self._name = f"seed {seed}{'' if reuse else ' (no reuse)'}"
        self.result = Result()

    async def run(self) -> Result:
        """Run the pulls and the single calls at the same time; return the result."""
        async with self._server.serving() as base_url, self._client(base_url) as client:
            views = (client, client.with_token(TENANTS[1], tenant="b"))
            reports: list[PullReport] = []
            singles = 0
            works: tuple[_Work, ...] = (self._pull, self._single_calls)
            async with asyncio.TaskGroup() as group:
                tasks: list[asyncio.Task[PullReport | int]] = [
                    group.create_task(work(view, token, own))
                    for view, token, own in zip(views, TENANTS, OWN, strict=True)
                    for work in works
                ]
            for ended in [task.result() for task in tasks]:
                if isinstance(ended, PullReport):
                    reports.append(ended)
                else:
                    singles += ended
        self._check_sums(reports, singles)
        self.result.faults = self._server.faults
        return self.result

    @asynccontextmanager
    async def _client(self, base_url: str) -> AsyncIterator[SpotBillingClient]:
        setting = self.setting
        config = ClientConfig(
            max_concurrency=setting.concurrency,
            deadline_s=60,
            reuse_connections=setting.reuse,
            retry=RETRY,
        )
        cache = CostCache() if setting.cached else None
        async with SpotBillingClient(
            TENANTS[0], base_url=base_url, config=config, hook=self._hook, cache=cache, tenant="a"
        ) as client:
            yield client

    def _hook(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self._calls[event.call_id] = event
        elif isinstance(event, RequestEnded):
            self._sent.setdefault(event.call_id, []).append(event)
            self.result.mismatches.update(event.mismatches)

    async def _pull(self, view: TenantClient, token: str, own: tuple[str, ...]) -> PullReport:
        accounts = [*own, *COMMON]
        plan = CostPlan.build(accounts, FIRST, LAST, WINDOW_DAYS, "service")
        costs: list[Decimal] = []
        pauses = Random(token)  # noqa: S311  a seeded test
        async with view.costs.pull(plan, self.setting.item_type) as run:
            async for outcome in run:
                asked = _asked(token, outcome.query)
                if isinstance(outcome, Failed):
                    self._lose(asked, outcome.error)
                    continue
                found = [item.cost for item in outcome.items]
                costs += found
                self._judge(asked, found)
                if pauses.random() < 0.2:
                    await asyncio.sleep(pauses.choice((0, 0.001, 0.004)))
        report = run.report
        ended = report.ok + report.empty + report.failed + report.cancelled + report.not_started
        totals = {"USD": sum(costs)} if costs else {}
        if (report.planned, report.rows, dict(report.totals)) != (ended, len(costs), totals):
            self.result.sums.append(f"{self._name}: {report}")
        return report

    async def _single_calls(self, view: TenantClient, token: str, own: tuple[str, ...]) -> int:
        """Make single calls, and calls whose caller leaves; return the number of all."""
        chance = Random(f"{token} {self._name}")  # noqa: S311  a seeded test
        for n in range(SINGLES + LEFT):
            query = _drawn_query(chance, [*own, *COMMON], aligned=self.setting.cached)
            work = view.costs.get(
                query.account_id,
                query.from_date,
                query.to_date,
                query.group_by,
                item_type=self.setting.item_type,
            )
            asked = _asked(token, query)
            if n % 6 == 5:
                with contextlib.suppress(TimeoutError, SpotBillingError):
                    async with asyncio.timeout(chance.uniform(0, 0.004)):
                        self._judge(asked, [item.cost for item in await work])
                continue
            try:
                self._judge(asked, [item.cost for item in await work])
            except SpotBillingError as error:
                self._lose(asked, error)
            await asyncio.sleep(chance.choice((0, 0, 0.002)))
        return SINGLES + LEFT

    def _lose(self, asked: Asked, error: SpotBillingError) -> None:
        tries = "; ".join(error.attempt_errors)
        text = f"{self._name}: {asked[1:]} after {error.attempts}: {error!r} ({tries})"
        self.result.lost.append(f"{text} {self.setting}")

    def _judge(self, asked: Asked, costs: list[Decimal]) -> None:
        """Compare accepted rows with the right ones."""
        self.result.accepted += 1
        if costs == self._answers.costs_of(asked):
            return
        faults: set[str] = set()
        strays: set[str] = set()
        page: Asked | None = asked
        for serial, count in parts(costs):
            answer = self._answers.made[serial]
            assert page is not None, "there are rows after the last page"
            assert count == answer.row_count, "rows of an answer are missing"
            if answer.asked != page:
                if kinds := contradictions(page, answer):
                    self._tell(asked, answer.asked, kinds)
                    return
                self._trace(page, [answer], faults, strays)
            page = None if answer.next_key is None else asked._replace(key=answer.next_key)
        if page is not None:  # the last page has no rows; it may be one of these
            empty = [made for made in self._answers.made if not made.row_count]
            possible = [answer for answer in empty if not contradictions(page, answer)]
            if not possible:
                self._tell(asked, None, {"url"})
                return
            if page not in [answer.asked for answer in possible]:
                self._trace(page, possible, faults, strays)
        if not self.setting.reuse:
            strays |= faults & ON_KEPT
        if strays:
            self.result.strays.append(f"{self._name}: {asked}: {strays} {self.setting}")
        self.result.untold[", ".join(sorted(faults))] += 1

    def _trace(
        self, page: Asked, answers: list[Answer], faults: set[str], strays: set[str]
    ) -> None:
        """Add the faults by which one of the answers reached a request of this page."""
        crossed = [self._server.crossed.get((page, answer.serial), set()) for answer in answers]
        found = set().union(*crossed)
        faults |= found
        if not found and any(answer.serial in self._server.unread for answer in answers):
            faults.add("before the request was read")
        elif not found:
            stray = [self._server.stray.get((page, answer.serial), set()) for answer in answers]
            strays |= set().union(*stray) or {"unknown"}

    def _tell(self, asked: Asked, answered: Asked | None, kinds: Iterable[str]) -> None:
        self.result.told.append(
            f"{self._name}: {asked} got the answer to {answered}, told by {sorted(kinds)} in "
            f"{self.setting}"
        )

    def _check_sums(self, reports: list[PullReport], singles: int) -> None:
        """Compare reports, events of calls, and events of requests."""
        found = []
        for call_id, call in self._calls.items():
            sent = self._sent.get(call_id, [])
            mismatched = sum(bool(event.mismatches) for event in sent)
            if (call.requests, call.mismatches) != (len(sent), mismatched):
                found.append(f"{call} of {sent}")
        pulled = [call for call in self._calls.values() if _is_pulled(call)]
        of_calls = (sum(c.requests for c in pulled), sum(c.mismatches for c in pulled))
        of_reports = (sum(r.requests for r in reports), sum(r.mismatches for r in reports))
        if of_calls != of_reports:
            found.append(f"{of_calls} requests and mismatches in calls, {of_reports} in reports")
        if not self.setting.cached and len(self._calls) != singles + sum(
            r.planned for r in reports
        ):
            found.append(f"{len(self._calls)} calls")
        self.result.requests = sum(map(len, self._sent.values()))
        self.result.sums += [f"{self._name}: {each}" for each in found]


def _asked(token: str, query: CostQuery) -> Asked:
    return Asked(token, query.account_id, query.from_date, query.to_date, query.group_by)


def _drawn_query(chance: Random, accounts: list[str], *, aligned: bool) -> CostQuery:
    """Return a random query for days that are none of the plan's.

    Aligned ones have the same days or different ones: a cache then has all of an answer or none.
    """
    if chance.random() < 0.1:
        account_id = chance.choice((None, chance.choice(accounts)))
        return CostQuery(account_id=account_id, group_by=chance.choice(GROUP_BY))
    n = chance.randrange(300)
    length = chance.choice((1, 3, 3, 7, 41))
    if aligned:
        n, length = n // 3 * 3, 3
    first = date(2024, 1, 1) + timedelta(days=n)
    return CostQuery(
        account_id=chance.choice(accounts),
        from_date=first,
        to_date=first + timedelta(days=length - 1),
        group_by=chance.choice(GROUP_BY),
    )


def _is_pulled(call: CallEnded) -> bool:
    return call.parameters.get("fromDate", "")[:4] == str(FIRST.year)


async def contests(seeds: Iterable[int], *, reuse: bool) -> Result:
    """Return the result of a run for each seed."""
    total = Result()
    for seed in seeds:
        total.add(await Contest(seed, reuse=reuse).run())
    return total
