"""Stores of several processes over a simulated Redis that loses answers. Time is virtual.

The simulated server executes the scripts of the store by their meaning; `test_store.py` proves the
scripts themselves.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from spot_billing_async import CostItem, DateWindow
from spot_billing_async.cache import CostCache
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.models.results import Answer
from spot_billing_async.redis import RedisStore
from spot_billing_async.redis import store as module
from tests.virtual import run_virtually

FIRST = date(2024, 1, 1)
TENANTS = ("one", "other")
LONGEST_API_S = 0.5
DEADLINE_S = 10.0


class SimulatedRedis:
    """Server with the values and claims of all processes; it loses answers by chance."""

    def __init__(self, seed: int, loss_share: float) -> None:
        self.chance = random.Random(seed)  # noqa: S311  a seeded scenario, no secret
        self.loss_share = loss_share
        self.entries: dict[str, tuple[Any, float]] = {}
        self.lost = 0

    async def info(self, _section: str) -> dict[str, int]:
        """Answer that this is no cluster."""
        return {"cluster_enabled": 0}

    async def aclose(self) -> None:
        """Do nothing."""

    def register_script(self, script: str) -> Callable[..., Any]:
        """Return a function that executes a script, unless it or its answer is lost."""

        async def run(keys: Sequence[str], arguments: Sequence[Any]) -> Any:
            await asyncio.sleep(self.chance.choice([0, 0, 0.001, 0.05]))
            is_lost, fate = self.chance.random() < self.loss_share, self.chance.randrange(4)
            self.lost += is_lost
            if is_lost and fate == 0:
                raise RedisConnectionError("the command is lost")
            answer = self._execute(script, keys, arguments)
            await asyncio.sleep(self.chance.choice([0, 0, 0.001, 0.05]))
            if is_lost and fate == 1:
                raise RedisConnectionError("the answer is lost")
            if is_lost and fate == 2:
                await asyncio.sleep(1000)
            if is_lost:  # the client library repeats the command on a new connection
                answer = self._execute(script, keys, arguments)
            return answer

        return run

    def _get(self, key: str) -> tuple[Any, float]:
        now_s = asyncio.get_running_loop().time()
        value, ends_s = self.entries.get(key, (None, 0.0))
        return (value, ends_s - now_s) if ends_s > now_s else (None, -0.002)

    def _set(self, key: str, value: Any, ms: float) -> None:
        self.entries[key] = value, asyncio.get_running_loop().time() + ms / 1000

    def _execute(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        count = len(keys) // 2
        pairs = list(zip(keys[:count], keys[count:], strict=True))
        if script == module._GET_OR_CLAIM:
            return [self._get_or_claim(key, claim, *arguments[:2]) for key, claim in pairs]
        for place, (key, claim) in enumerate(pairs):
            if script == module._SET:
                self._set(key, *arguments[2 * place + 1 : 2 * place + 3])
            is_own = self._get(claim)[0] == arguments[0] if arguments else False
            if script == module._RENEW and is_own:
                self._set(claim, *arguments)
            elif script == module._DELETE:
                self.entries.pop(key, None)
            elif is_own:
                del self.entries[claim]
        return None

    def _get_or_claim(self, key: str, claim: str, owner: str, lease_ms: int) -> Any:
        data, left_s = self._get(key)
        if data is not None:
            return [data, left_s * 1000]
        holder = self._get(claim)[0]
        if holder not in {None, owner}:
            return 0
        self._set(claim, owner, lease_ms)
        return 2 if holder == owner else 1


class Processes:
    """Processes with a cache each, and the requests of their callers."""

    def __init__(self, server: SimulatedRedis) -> None:
        self.chance = server.chance
        self.caches: list[CostCache] = []

    async def get(self, cache: CostCache, tenant: str, days: DateWindow) -> None:
        """Query some days of a tenant, and check the rows and the number of requests."""
        codec, clock = codec_for(CostItem), asyncio.get_running_loop().time
        assert codec is not None
        requested: Counter[date] = Counter()

        async def fetch(window: DateWindow) -> Answer[CostItem]:
            each = [window.from_date + timedelta(days=n) for n in range(window.days)]
            requested.update(each)
            await asyncio.sleep(self.chance.uniform(0, LONGEST_API_S))
            rows = [CostItem(account_id=tenant, date=day, cost=Decimal(1)) for day in each]
            return Answer(rows, "r", None, {})

        query = CacheQuery(
            operation_id="getCostAnalysis",
            credential=tenant,
            series=SeriesKey(tenant, "http://a", "account", None, "type"),
            days=days,
            codec=codec,
            fetch=fetch,
            clock=clock,
            ends_at_s=clock() + DEADLINE_S,
            grace_s=1.0,
            timeout_message="late",
            hook=None,
        )
        try:
            answer = await cache.read(query)
        finally:
            # Once in a shared fetch that this caller started, and once by itself.
            assert max(requested.values(), default=0) <= 2
        wanted = [days.from_date + timedelta(days=n) for n in range(days.days)]
        assert [(row.account_id, row.date) for row in answer.items] == [
            (tenant, day) for day in wanted
        ]

    async def caller(self) -> None:
        """Query a few times, and leave some of the queries early."""
        chance = self.chance
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0, 0.5))
            first = FIRST + timedelta(days=chance.randrange(3))
            days = DateWindow(first, first + timedelta(days=chance.randrange(3)))
            query = self.get(chance.choice(self.caches), chance.choice(TENANTS), days)
            if chance.random() < 0.3:
                try:
                    async with asyncio.timeout(chance.uniform(0, 0.3)):
                        await query
                except TimeoutError:
                    pass
            else:
                await query


async def simulate(server: SimulatedRedis, processes: int, callers: int) -> None:
    """Run callers in several processes until all have their rows."""
    running = Processes(server)
    clock = asyncio.get_running_loop().time
    opened = [CostCache(RedisStore("redis://a", clock=clock)) for _ in range(processes)]
    for cache in opened:
        running.caches.append(await cache.__aenter__())
    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(running.caller())
    for cache in opened:
        store = cache._store
        await cache.__aexit__(None, None, None)
        assert isinstance(store, RedisStore)
        assert not store._claimed
        assert not store._tasks


@given(
    seed=st.integers(0, 2**32),
    loss_share=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    processes=st.integers(1, 3),
    callers=st.integers(1, 6),
)
def test_lost_answers_neither_block_nor_mix_up_callers(
    seed: int, loss_share: float, processes: int, callers: int
) -> None:
    """Every caller gets its tenant's rows in time, and asks for no day more than twice."""
    server = SimulatedRedis(seed, loss_share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_client", lambda *_: server)
        run_virtually(simulate(server, processes, callers))
