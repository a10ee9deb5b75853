"""Clients that share a quota through a real Redis server, also while it is unavailable."""

import asyncio
import gc
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
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.emulator import Emulator, RateLimit
from spot_billing_async.redis import RedisQuota
from spot_billing_async.redis import quota as quota_module
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
    """Enter a client for each quota."""
    made = [SpotBillingClient(TOKEN, base_url=base_url, quota=q) for q in quotas]
    async with asyncio.timeout(120), AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client) for client in made]


async def empty(request: web.Request) -> web.Response:
    """Respond with no items; for the account "slow" never respond."""
    if request.query["accountId"] == "slow":
        await asyncio.Event().wait()
    return web.json_response({"response": {"items": []}})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  no event is set for it
            await asyncio.sleep(0.01)


def limiter_of(quota: RedisQuota) -> Any:
    (limiter,) = quota._limiters.values()
    return limiter


async def test_two_clients_pace_as_one() -> None:
    """Each client alone would use up the quota; together they get no rejection."""
    with redis_server() as redis:
        quotas = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(20, 1.0)) as server,
            clients(server.base_url, *quotas) as (one, other),
        ):
            await pull(one, 1)  # the first success begins the log
            await until(lambda: limiter_of(quotas[0]).is_attached)
            reports = await asyncio.gather(pull(one, 40), pull(other, 40))
            limiters = [limiter_of(quota) for quota in quotas]
            await until(lambda: not any(limiter.replica.leases for limiter in limiters))
    for report in reports:
        assert report.complete
        assert report.requests == report.planned


async def test_a_closed_client_returns_its_permits() -> None:
    """A closed client returns its permits; others need not wait for the end of its lease."""
    with redis_server() as redis:
        stays, leaves = RedisQuota(redis.url), RedisQuota(redis.url)
        async with serve(empty) as base_url, clients(base_url, stays) as (client,):
            await client.costs.get(ACCOUNT)
            await until(lambda: limiter_of(stays).is_attached)
            async with clients(base_url, leaves) as (leaver,):
                call = asyncio.create_task(leaver.costs.get("slow"))
                await until(lambda: leaves.owner in limiter_of(stays).replica.leases)
                assert leaves.owner in limiter_of(stays).replica.leases
            await until(lambda: not limiter_of(stays).replica.leases)
            with pytest.raises(SpotBillingError):
                await call


async def test_a_restart_of_redis_fails_no_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While Redis is down each client paces itself; it attaches again and logs both once."""
    with redis_server() as redis:
        quotas = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(50, 1.0)) as server,
            clients(server.base_url, *quotas) as members,
        ):
            pulls = [asyncio.create_task(pull(client, 60)) for client in members]
            await until(
                lambda: all(quota._limiters and limiter_of(quota).is_attached for quota in quotas)
            )
            redis.stop()
            await until(lambda: not any(limiter_of(quota).is_attached for quota in quotas))
            redis.start()
            reports = await asyncio.gather(*pulls)
            await until(lambda: all(limiter_of(quota).is_attached for quota in quotas))
            again = await asyncio.gather(*(pull(client, 5) for client in members))
    assert all(report.complete for report in [*reports, *again])
    logged = [record.message for record in caplog.records if record.name == "spot_billing_async"]
    assert sorted("is available again" in message for message in logged) == [
        False,
        False,
        True,
        True,
    ]


async def test_a_redis_that_stops_responding_delays_no_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Connections stay open without a response: the timeout detects it, and it is logged once."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url, timeout_s=0.1)
        async with Emulator(token=TOKEN) as server, clients(server.base_url, quota) as (client,):
            await pull(client, 1)
            redis.halt()
            report = await pull(client, 20)
            redis.go_on()
            await until(lambda: limiter_of(quota).is_attached)
            await pull(client, 1)
    assert report.complete
    down, up = caplog.messages
    assert "TimeoutError" in down
    assert "is available again" in up


async def test_a_new_client_can_join_after_redis_was_emptied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Older clients continue in a log without a snapshot, so all of them start at a new one."""
    with redis_server() as redis:
        old, new = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(50, 1.0)) as server,
            clients(server.base_url, old) as (client,),
        ):
            await pull(client, 2)
            async with Redis.from_url(redis.url) as admin:
                await admin.flushall()
            await pull(client, 2)
            async with clients(server.base_url, new) as (newcomer,):
                reports = await asyncio.gather(pull(client, 40), pull(newcomer, 40))
                await until(lambda: limiter_of(old).is_attached)
                assert limiter_of(new).is_attached
                assert limiter_of(new).replica.checkpoint == limiter_of(old).replica.checkpoint
    assert all(report.complete for report in reports)
    assert not caplog.records


async def test_a_redis_clock_set_back_delays_no_call() -> None:
    """Stamps never decrease: they, and with them the window, would stand still for an hour."""
    with redis_server() as redis:
        quotas = RedisQuota(redis.url), RedisQuota(redis.url)
        async with (
            Emulator(token=TOKEN, rate_limit=RateLimit(10, 1.0)) as server,
            clients(server.base_url, *quotas) as members,
        ):
            await asyncio.gather(*(pull(client, 2) for client in members))
            await until(lambda: all(limiter_of(quota).is_attached for quota in quotas))
            async with Redis.from_url(redis.url) as admin:
                last = int(limiter_of(quotas[0]).replica.last_id.partition("-")[0])
                await admin.xadd(limiter_of(quotas[0]).key, {"e": b""}, id=f"{last + 3_600_000}-0")
            reports = await asyncio.gather(*(pull(client, 20) for client in members))
            await until(lambda: all(limiter_of(quota).is_attached for quota in quotas))
    assert all(report.complete for report in reports)


async def test_without_redis_a_client_paces_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Calls succeed although Redis was never available, which is logged once."""
    quota = RedisQuota("redis://somebody:pass-word@127.0.0.1:9/3")
    async with Emulator(token=TOKEN) as server, clients(server.base_url, quota) as (client,):
        report = await pull(client, 20)
        await until(lambda: bool(caplog.messages))
    assert report.complete
    (message,) = caplog.messages
    assert message.startswith("RedisQuota('redis://***@127.0.0.1:9/3') is unavailable (Connection")


async def dump(redis: RedisServer, password: str) -> bytes:
    """Return all keys of a server and their entries."""
    reader = Redis.from_url(redis.url, password=password)
    keys = await reader.keys("*")
    entries = [await reader.xrange(key) for key in keys]
    await reader.aclose()
    return repr((keys, entries)).encode()


async def test_redis_stores_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Redis holds no token, account or server; its password is in no log record and no repr."""
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
            stored = await dump(redis, "pass-word")
            shown = repr((members, good, bad, vars(good), vars(bad))) + caplog.text
            hidden = TOKEN, ACCOUNT, server.base_url, server.base_url.rpartition(":")[2]
    assert limiter_of(good).replica.entries > 0
    assert limiter_of(bad).replica.entries == 0
    assert b"spot-billing:quota:" in stored
    for secret in hidden:
        assert secret.encode() not in stored
    for secret in (TOKEN, "pass-word", "wrong-one"):
        assert secret not in shown


async def test_each_credential_has_a_quota_of_its_own() -> None:
    """Views share a limiter if their tokens are equal."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with serve(empty) as base_url, clients(base_url, quota) as (client,):
            for token in (TOKEN, "another-token", TOKEN):
                await client.with_token(token).costs.get(ACCOUNT)
            await client.costs.get(ACCOUNT)
            assert len(quota._limiters) == 2


async def test_calls_of_two_limiters_share_the_connection_slots() -> None:
    """A limiter whose calls found no slot is checked when another limiter's request frees one."""
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


async def test_many_limiters_attach_again_together(caplog: pytest.LogCaptureFixture) -> None:
    """Attached limiters are read while others are being attached, so Redis does not seem slow."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with serve(empty) as base_url, clients(base_url, quota) as (client,):
            views = [client.with_token(f"token-of-tenant-{i}") for i in range(100)]
            await asyncio.gather(*(view.costs.get(ACCOUNT) for view in views))
            redis.stop()
            await asyncio.gather(*(view.costs.get(ACCOUNT) for view in views))
            redis.start()
            await until(lambda: all(limiter.is_attached for limiter in quota._active))
            await asyncio.gather(*(view.costs.get(ACCOUNT) for view in views))
            assert len(quota._active) == 100
    down, up = caplog.messages
    assert "is unavailable" in down
    assert "is available again" in up


async def test_an_unused_limiter_is_detached_until_its_next_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server of thousands of tenants does not follow the streams of inactive ones."""
    monkeypatch.setattr("spot_billing_async.redis.quota._IDLE_S", 0.05)
    monkeypatch.setattr("spot_billing_async.redis.quota._BLOCK_S", 0.05)
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with Emulator(token=TOKEN) as server, clients(server.base_url, quota) as (client,):
            await pull(client, 5)
            limiter = limiter_of(quota)
            await until(lambda: not quota._active)
            assert not limiter.is_attached
            before = limiter.replica.entries
            await pull(client, 5)
            assert limiter.replica.entries > before
        assert quota._task is None


async def test_a_client_can_be_entered_again() -> None:
    """A client that is entered again shares the quota again, with a new owner name."""
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with Emulator(token=TOKEN) as server:
            client = SpotBillingClient(TOKEN, base_url=server.base_url, quota=quota)
            owners = set()
            for _ in range(2):
                async with client:
                    assert (await pull(client, 5)).complete
                    assert limiter_of(quota).is_attached
                    owners.add(quota.owner)
    assert len(owners) == 2


async def test_a_quota_serves_one_client() -> None:
    """Entering a second client raises, and leaves nothing open."""
    quota = RedisQuota("redis://127.0.0.1:9")
    async with Emulator(token=TOKEN) as server, clients(server.base_url, quota):
        second = SpotBillingClient(TOKEN, base_url=server.base_url, quota=quota)
        with pytest.raises(
            ConfigError, match="quota must be a separate RedisQuota for each client"
        ):
            await second.__aenter__()


@pytest.mark.parametrize(
    ("setting", "field"), [({"prefix": ""}, "prefix"), ({"timeout_s": 0}, "timeout_s")]
)
def test_a_bad_setting_is_named(setting: dict[str, Any], field: str) -> None:
    """The error for an invalid setting names it, what is allowed and the value."""
    with pytest.raises(ConfigError, match=rf"^{field} must be .*, got "):
        RedisQuota(Secret("redis://localhost"), **setting)


def test_an_invalid_quota_is_refused() -> None:
    """A client refuses a URL in place of a quota."""
    with pytest.raises(ConfigError, match="quota must be a SharedQuota or None, got 'redis"):
        SpotBillingClient(TOKEN, quota="redis://localhost")  # type: ignore[arg-type]  # what is tested


def test_a_missing_extra_is_named() -> None:
    """Without the package redis, the import error names the extra to install."""
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
    assert "pip install '.[redis]'" in done.stdout


async def keys_of(redis: RedisServer) -> list[bytes]:
    async with Redis.from_url(redis.url) as admin:
        return [bytes(key) for key in await admin.keys("*") if isinstance(key, bytes)]


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_a_token_that_was_never_accepted_leaves_nothing_in_redis(status: int) -> None:
    """A log is begun for a token that the API has accepted, and expires after its last use."""
    valid: set[str] = set()

    async def handler(request: web.Request) -> web.Response:
        is_valid = request.headers["Authorization"] in valid
        return web.json_response({"response": {"items": []}}, status=200 if is_valid else status)

    config = ClientConfig(retry=RetryPolicy(max_attempts=1))
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with (
            serve(handler) as base_url,
            SpotBillingClient(TOKEN, base_url=base_url, config=config, quota=quota) as client,
        ):
            for number in range(10):
                view = client.with_token(f"made-up-{number}", tenant=f"tenant-{number}")
                with pytest.raises(SpotBillingError):
                    await view.costs.get(ACCOUNT)
            del view
            await until(lambda: quota._availability.is_up is not False)
            gc.collect()
            assert not quota._active
            assert len(quota._limiters) <= 1  # a variable of the reader may hold the last one
            assert await keys_of(redis) == []
            valid.add(f"Bearer {TOKEN}")
            await asyncio.gather(*(client.costs.get(ACCOUNT) for _ in range(5)))
            await until(lambda: limiter_of(quota).is_attached)
            (key,) = await keys_of(redis)
            async with Redis.from_url(redis.url) as admin:
                assert 7000 < await admin.ttl(key) <= 7200


async def test_unused_limiters_are_followed_up_to_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of tenants the least recently used ones are no longer followed."""
    monkeypatch.setattr(quota_module, "_MOST_ACTIVE", 3)
    with redis_server() as redis:
        quota = RedisQuota(redis.url)
        async with serve(empty) as base_url, clients(base_url, quota) as (client,):
            for number in range(12):
                await client.with_token(f"token-{number}").costs.get(ACCOUNT)
            await until(lambda: len(quota._active) <= 3)
            newest = client.with_token("token-11").costs._session._limiter("getCostAnalysis")
            await until(lambda: newest in quota._active)


async def test_a_key_that_is_no_log_is_replaced(redis_server: RedisServer) -> None:
    """A quota deletes a key of another type in the place of its log, and begins a log."""
    async with serve(empty) as base_url, Redis.from_url(redis_server.url) as plain:
        for _ in range(2):
            async with clients(base_url, RedisQuota(redis_server.url, timeout_s=10.0)) as (one,):
                keys: list[bytes | str] = []
                while not keys or await plain.type(keys[0]) != b"stream":
                    await pull(one, 1)
                    keys = await plain.keys("*:quota:*")
            await plain.set(keys[0], "x")
