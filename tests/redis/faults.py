"""Faults of a real Redis server under several clients that share a quota and a cache through it.

The clients have a quota and a store each, as processes would, and ask for days that others ask for
at the same time. The API is a server of this event loop that answers in 20 ms.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta

from aiohttp import web
from redis.asyncio import Redis

from spot_billing_async import CostItem, SpotBillingClient
from spot_billing_async.cache import CostCache
from spot_billing_async.redis import RedisQuota, RedisStore
from tests.redis.proxy import LossyProxy, lossy_proxy
from tests.support import serve
from tests.support_redis import RedisServer

CLIENTS = 3
CALLERS = 4
ACCOUNT = "act-1"
FIRST = date(2010, 1, 1)
ANSWER_S = 0.02
_PAUSE_S = 0.01
_DAYS_PER_S = 20
_SPREAD_DAYS = 4


@dataclass
class Measured:
    """Result of a run.

    Attributes:
        calls: number of calls.
        failures: errors, and answers with other rows than the API's.
        longest_s: duration of the slowest call.
        requests: number of requests at the API.
    """

    calls: int = 0
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    requests: int = 0


@dataclass
class Setup:
    """A Redis server, a proxy in front of it that the clients use, and a connection past it."""

    server: RedisServer
    proxy: LossyProxy
    admin: Redis


Fault = Callable[[Setup, float], Awaitable[None]]
"""Disturbs Redis for some seconds, and ends the disturbance."""


async def killed(setup: Setup, for_s: float) -> None:
    """Kill the server, and start it again without data."""
    setup.server.stop()
    await asyncio.sleep(for_s)
    await asyncio.to_thread(setup.server.start)


async def halted(setup: Setup, for_s: float) -> None:
    """Suspend the server."""
    setup.server.halt()
    await asyncio.sleep(for_s)
    setup.server.go_on()


async def cut(setup: Setup, for_s: float) -> None:
    """Reset all connections five times a second."""
    for _ in range(max(1, round(for_s * 5))):
        setup.proxy.cut()
        await asyncio.sleep(0.2)


async def read_only(setup: Setup, for_s: float) -> None:
    """Make the server a replica."""
    await setup.admin.replicaof("127.0.0.1", "1")
    await asyncio.sleep(for_s)
    await setup.admin.replicaof("NO", "ONE")


async def out_of_memory(setup: Setup, for_s: float) -> None:
    """Leave the server no memory for anything new."""
    await setup.admin.set("ballast", b"0" * 2_000_000)
    await setup.admin.config_set("maxmemory", "1mb")
    await asyncio.sleep(for_s)
    await setup.admin.config_set("maxmemory", "0")


async def password(setup: Setup, for_s: float) -> None:
    """Have the server ask for a password that the clients do not have."""
    await setup.admin.config_set("requirepass", "of-this-test")
    await setup.admin.client_kill_filter(_type="normal")
    await asyncio.sleep(for_s)
    await setup.admin.config_set("requirepass", "")


async def flushed(setup: Setup, for_s: float) -> None:
    """Delete everything five times a second."""
    for _ in range(max(1, round(for_s * 5))):
        await setup.admin.flushall()
        await asyncio.sleep(0.2)


async def lost(setup: Setup, for_s: float) -> None:
    """Lose one answer in twenty."""
    setup.proxy.loss_share = 0.05
    await asyncio.sleep(for_s)
    setup.proxy.loss_share = 0.0


FAULTS: list[Fault] = [
    killed,
    halted,
    cut,
    read_only,
    out_of_memory,
    password,
    flushed,
    lost,
]


async def _call(client: SpotBillingClient, day: date, measured: Measured) -> None:
    began_s = time.monotonic()
    measured.calls += 1
    try:
        items: list[CostItem] = await client.costs.get(ACCOUNT, day, day)
        if [item.date for item in items] != [day]:
            measured.failures.append(f"{day}: {items!r}")
    except Exception as error:  # noqa: BLE001  reported by the test
        measured.failures.append(f"{day}: {error!r}")
    measured.longest_s = max(measured.longest_s, time.monotonic() - began_s)


async def _caller(
    client: SpotBillingClient, seed: int, ended: asyncio.Event, measured: Measured
) -> None:
    chance = random.Random(seed)  # noqa: S311  a seeded scenario, no secret
    began_s = time.monotonic()
    while not ended.is_set():
        place = int((time.monotonic() - began_s) * _DAYS_PER_S) + chance.randrange(_SPREAD_DAYS)
        await _call(client, FIRST + timedelta(days=place), measured)
        await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def api(measured: Measured) -> AsyncIterator[str]:
    """Serve one row for each day."""

    async def answer(request: web.Request) -> web.Response:
        measured.requests += 1
        await asyncio.sleep(ANSWER_S)
        first, last = (date.fromisoformat(request.query[name]) for name in ("fromDate", "toDate"))
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        items = [{"date": str(day), "cost": 1, "currency": "USD"} for day in days]
        envelope = {"response": {"items": items, "count": len(items)}}
        return web.json_response(envelope)

    async with serve(answer) as base_url:
        yield base_url


async def call_through(
    redis_url: str | None, seed: int, ended: asyncio.Event, measured: Measured
) -> None:
    """Call through clients until an event; without a URL they share nothing."""
    async with AsyncExitStack() as stack:
        base_url = await stack.enter_async_context(api(measured))
        clients = []
        for _ in range(CLIENTS):
            cache = CostCache(None if redis_url is None else RedisStore(redis_url))
            quota = None if redis_url is None else RedisQuota(redis_url)
            client = SpotBillingClient("t", base_url=base_url, cache=cache, quota=quota)
            clients.append(await stack.enter_async_context(client))
        async with asyncio.TaskGroup() as callers:
            for n in range(CLIENTS * CALLERS):
                client = clients[n % CLIENTS]
                callers.create_task(_caller(client, 1000 * seed + n, ended, measured))


async def measure_fault(
    server: RedisServer, fault: Fault, *, seed: int, before_s: float, for_s: float, after_s: float
) -> tuple[Measured, Measured]:
    """Call while Redis has a fault, and before and after it.

    Returns:
        The calls through Redis, and those of other clients without it at the same time.
    """
    shared, alone, ended = Measured(), Measured(), asyncio.Event()
    async with lossy_proxy(server.port, seed) as proxy, asyncio.TaskGroup() as runs:
        runs.create_task(call_through(proxy.url, seed, ended, shared))
        runs.create_task(call_through(None, seed, ended, alone))
        await asyncio.sleep(before_s)
        async with Redis.from_url(server.url) as admin:
            await fault(Setup(server, proxy, admin), for_s)
        await asyncio.sleep(after_s)
        ended.set()
    return shared, alone
