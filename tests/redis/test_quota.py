"""Clients that share a quota over a real Redis server, and what becomes of them without it."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostPlan,
    PullReport,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.emulator import Emulator, RateLimit
from spot_billing_async.redis import RedisQuota
from tests.support import serve
from tests.support_redis import RedisServer, redis_server

TOKEN = "the-token-of-this-test"
ACCOUNT = "011254002932"


def plan_of(slices: int) -> CostPlan:
    first = date(2024, 1, 1)
    return CostPlan.build([ACCOUNT], first, first + timedelta(days=slices - 1), window="day")


async def pull(client: SpotBillingClient, slices: int) -> PullReport:
    async with client.costs.pull(plan_of(slices)) as run:
        async for _ in run:
            pass
    return run.report


@asynccontextmanager
async def clients(base_url: str, *quotas: RedisQuota) -> AsyncIterator[list[SpotBillingClient]]:
    """A client for each quota."""
    made = [SpotBillingClient(TOKEN, base_url=base_url, quota=q) for q in quotas]
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client) for client in made]


async def empty(request: web.Request) -> web.Response:
    """Answer that there is nothing; never for the account "slow"."""
    if request.query["accountId"] == "slow":
        await asyncio.Event().wait()
    return web.json_response({"response": {"items": []}})


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happens():  # noqa: ASYNC110  what happens tells nobody
            await asyncio.sleep(0.01)


def gate_of(quota: RedisQuota) -> Any:
    (limiter,) = quota._limiters.values()
    return limiter


async def test_two_clients_pace_as_one() -> None:
    """Together they stay within a quota that each of them would use up alone: none is refused."""
    with redis_server() as redis:
        quotas = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(20, 1.0)) as server,
            clients(server.base_url, *quotas) as (one, other),
        ):
            reports = await asyncio.gather(pull(one, 40), pull(other, 40))
            limiters = [gate_of(quota) for quota in quotas]
            await until(lambda: not any(limiter.replica.held for limiter in limiters))
    for report in reports:
        assert report.complete
        assert report.requests == report.planned


async def test_what_a_client_holds_that_is_left_is_given_back() -> None:
    """The others need not wait for its lease."""
    with redis_server() as redis:
        stays, leaves = RedisQuota(redis.url), RedisQuota(redis.url)
        async with serve(empty) as base_url, clients(base_url, stays) as (client,):
            await client.costs.get(ACCOUNT)
            async with clients(base_url, leaves) as (leaver,):
                call = asyncio.create_task(leaver.costs.get("slow"))
                await until(lambda: leaves.owner in gate_of(stays).replica.held)
                assert leaves.owner in gate_of(stays).replica.held
            await until(lambda: not gate_of(stays).replica.held)
            with pytest.raises(SpotBillingError):
                await call


async def test_a_redis_that_is_killed_and_started_again_fails_no_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each client goes on by itself, says so once, comes back, and says that once."""
    with redis_server() as redis:
        quotas = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(50, 1.0)) as server,
            clients(server.base_url, *quotas) as members,
        ):
            pulls = [asyncio.create_task(pull(client, 100)) for client in members]
            await until(
                lambda: all(quota._limiters and gate_of(quota).is_joined for quota in quotas)
            )
            redis.stop()
            await until(lambda: not any(gate_of(quota).is_joined for quota in quotas))
            redis.start()
            reports = await asyncio.gather(*pulls)
            await until(lambda: all(gate_of(quota).is_joined for quota in quotas))
            again = await asyncio.gather(*(pull(client, 5) for client in members))
    assert all(report.complete for report in [*reports, *again])
    said = [record.message for record in caplog.records if record.name == "spot_billing_async"]
    assert sorted("is back" in message for message in said) == [False, False, True, True]


async def test_a_redis_that_answers_no_more_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its connections stand, and nothing comes: known within the timeout, and told once."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url, timeout_s=0.1)
        async with Emulator(token=TOKEN) as server, clients(server.base_url, quota) as (client,):
            await pull(client, 1)
            redis.halt()
            report = await pull(client, 20)
            redis.go_on()
            await until(lambda: gate_of(quota).is_joined)
            await pull(client, 1)
    assert report.complete
    lost, back = caplog.messages
    assert "TimeoutError" in lost
    assert "is back" in back


async def test_a_redis_that_was_emptied_has_newcomers_take_part(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those who were there write on into a log that says no more how it began; all begin anew."""
    with redis_server() as redis:
        stays, comes = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(50, 1.0)) as server,
            clients(server.base_url, stays) as (client,),
        ):
            await pull(client, 2)
            async with Redis.from_url(redis.url) as admin:
                await admin.flushall()
            await pull(client, 2)
            async with clients(server.base_url, comes) as (newcomer,):
                reports = await asyncio.gather(pull(client, 40), pull(newcomer, 40))
                await until(lambda: gate_of(stays).is_joined)
                assert gate_of(comes).is_joined
                assert gate_of(comes).replica.checkpoint == gate_of(stays).replica.checkpoint
    assert all(report.complete for report in reports)
    assert not caplog.records


async def test_a_clock_of_redis_that_goes_back_holds_up_nobody() -> None:
    """Its stamps never do: they would stand still for an hour, and the quota's window with them."""
    with redis_server() as redis:
        quotas = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(10, 1.0)) as server,
            clients(server.base_url, *quotas) as members,
        ):
            await asyncio.gather(*(pull(client, 2) for client in members))
            async with Redis.from_url(redis.url) as admin:
                last = int(gate_of(quotas[0]).replica.last.partition("-")[0])
                await admin.xadd(gate_of(quotas[0]).key, {"e": b""}, id=f"{last + 3_600_000}-0")
            reports = await asyncio.gather(*(pull(client, 20) for client in members))
            await until(lambda: all(gate_of(quota).is_joined for quota in quotas))
    assert all(report.complete for report in reports)


async def test_without_redis_a_client_paces_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """It was never there: calls go, and one line of the log says what is missing."""
    quota = RedisQuota("redis://somebody:pass-word@127.0.0.1:9/3")
    async with Emulator(token=TOKEN) as server, clients(server.base_url, quota) as (client,):
        report = await pull(client, 20)
        await until(lambda: bool(caplog.messages))
    assert report.complete
    (said,) = caplog.messages
    assert said.startswith("RedisQuota('redis://***@127.0.0.1:9/3') is gone or slow (Connection")


async def everything_in(redis: RedisServer, password: str) -> bytes:
    """All keys of a server, and all that they hold."""
    reader = Redis.from_url(redis.url, password=password)
    keys = await reader.keys("*")
    held = [await reader.xrange(key) for key in keys]
    await reader.aclose()
    return repr((keys, held)).encode()


async def test_redis_is_shown_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither token nor account nor server is in it; its password is in no log and no repr."""
    caplog.set_level(logging.DEBUG)
    with redis_server("--requirepass", "pass-word") as redis:
        url = redis.url.replace("redis://", "redis://:pass-word@")
        good, bad = (
            RedisQuota(url),
            RedisQuota(redis.url.replace("redis://", "redis://:wrong-one@")),
        )
        async with (
            Emulator(token=TOKEN) as server,
            clients(server.base_url, good, bad) as members,
        ):
            await asyncio.gather(*(pull(client, 10) for client in members))
            held = await everything_in(redis, "pass-word")
            shown = repr((members, good, bad, vars(good), vars(bad))) + caplog.text
            hidden = TOKEN, ACCOUNT, server.base_url, server.base_url.rpartition(":")[2]
    assert gate_of(good).replica.entries > 0
    assert gate_of(bad).replica.entries == 0
    assert b"spot-billing:quota:" in held
    for secret in hidden:
        assert secret.encode() not in held
    for secret in (TOKEN, "pass-word", "wrong-one"):
        assert secret not in shown


async def test_each_credential_has_a_quota_of_its_own() -> None:
    """Views with equal tokens share a gate, and those with others do not."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with serve(empty) as base_url, clients(base_url, quota) as (client,):
            for token in (TOKEN, "another-token", TOKEN):
                await client.with_token(token).costs.get(ACCOUNT)
            await client.costs.get(ACCOUNT)
            assert len(quota._limiters) == 2


async def test_calls_of_two_gates_share_the_places_on_the_wire() -> None:
    """A gate whose calls had no place is looked at when one of another gate's is free."""
    config = ClientConfig(max_concurrency=1)
    with redis_server() as redis:
        async with (
            serve(empty) as base_url,
            SpotBillingClient(
                TOKEN, base_url=base_url, config=config, quota=RedisQuota(redis.url)
            ) as client,
        ):
            views = client, client.with_token("another-token")
            async with asyncio.timeout(30):
                await asyncio.gather(*(view.costs.get(ACCOUNT) for view in views * 20))


async def test_many_gates_come_back_together(caplog: pytest.LogCaptureFixture) -> None:
    """Those that take part already are read on while the others join: nothing seems slow by it."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with serve(empty) as base_url, clients(base_url, quota) as (client,):
            views = [client.with_token(f"token-of-tenant-{i}") for i in range(100)]
            await asyncio.gather(*(view.costs.get(ACCOUNT) for view in views))
            redis.stop()
            await asyncio.gather(*(view.costs.get(ACCOUNT) for view in views))
            redis.start()
            await until(lambda: all(limiter.is_joined for limiter in quota._active))
            await asyncio.gather(*(view.costs.get(ACCOUNT) for view in views))
            assert len(quota._active) == 100
    lost, back = caplog.messages
    assert "is gone or slow" in lost
    assert "is back" in back


async def test_a_gate_that_is_not_used_leaves_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server of thousands of tenants does not follow those that are gone."""
    monkeypatch.setattr("spot_billing_async.redis.quota._IDLE_S", 0.05)
    monkeypatch.setattr("spot_billing_async.redis.quota._BLOCK_S", 0.05)
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with Emulator(token=TOKEN) as server, clients(server.base_url, quota) as (client,):
            await pull(client, 5)
            limiter = gate_of(quota)
            await until(lambda: not quota._active)
            assert not limiter.is_joined
            before = limiter.replica.entries
            await pull(client, 5)
            assert limiter.replica.entries > before
        assert quota._task is None


async def test_a_client_can_be_entered_again() -> None:
    """Its quota takes part again, under another name."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with Emulator(token=TOKEN) as server:
            client = SpotBillingClient(TOKEN, base_url=server.base_url, quota=quota)
            owners = set()
            for _ in range(2):
                async with client:
                    assert (await pull(client, 5)).complete
                    assert gate_of(quota).is_joined
                    owners.add(quota.owner)
    assert len(owners) == 2


async def test_a_quota_serves_one_client() -> None:
    """The second one is refused as it is entered, and leaves nothing open."""
    quota = RedisQuota("redis://127.0.0.1:9")
    async with Emulator(token=TOKEN) as server, clients(server.base_url, quota):
        second = SpotBillingClient(TOKEN, base_url=server.base_url, quota=quota)
        with pytest.raises(ConfigError, match="one for each client"):
            await second.__aenter__()


@pytest.mark.parametrize(
    ("setting", "what"), [({"prefix": ""}, "prefix"), ({"timeout_s": 0}, "timeout_s")]
)
def test_a_bad_setting_is_named(setting: dict[str, Any], what: str) -> None:
    """With its value, and what is allowed."""
    with pytest.raises(ConfigError, match=rf"^{what} must be .*, got "):
        RedisQuota(Secret("redis://localhost"), **setting)


def test_what_is_no_quota_is_refused() -> None:
    """A URL in its place, say."""
    with pytest.raises(ConfigError, match=r"quota: .* allowed: a SharedQuota"):
        SpotBillingClient(TOKEN, quota="redis://localhost")  # type: ignore[arg-type]  # what is tested


def test_the_extra_is_named_where_it_is_missing() -> None:
    """So that whoever meets it knows what to install."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from spot_billing_async import MissingExtraError\n"
        "try:\n    import spot_billing_async.redis\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(  # noqa: S603  our own code
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert "spot-billing-async[redis]" in done.stdout
