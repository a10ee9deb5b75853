"""The store in Redis: shared data, claims, and outages of Redis."""

import asyncio
import logging
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from spot_billing_async import ConfigError, SpotBillingClient, SpotBillingError
from spot_billing_async.cache import CostCache, MemoryStore, Value
from spot_billing_async.emulator import Emulator
from spot_billing_async.redis import RedisStore
from spot_billing_async.redis.server import time_limit
from spot_billing_async.redis.store import _RETRY_AFTER_S
from tests.hostile.everything import attempt, capturing
from tests.support import Clock, serve_streams
from tests.support_redis import RedisServer

SECRET = "51c09be7f2-not-a-real-token"
PASSWORD = "c70e44d1-not-a-real-password"
ACCOUNT = "011254002932"
FIRST = date(2024, 1, 1)
VALUE = Value(b"[]", 60.0)


def store_of(server: RedisServer, **options: Any) -> RedisStore:
    return RedisStore(server.url, **{"timeout_s": 10.0, **options})


async def test_processes_share_values(redis_server: RedisServer) -> None:
    """A store finds the values that another one set, and then keeps them in memory."""
    async with store_of(redis_server) as one, store_of(redis_server) as other:
        await one.set({"a": Value(b"1", 60.0), "b": Value(b"2", 60.0)})
        assert other.get_local(["a", "b"]) == {}
        lookup = await other.get_or_claim(["a", "b", "c"])
        assert lookup.found == {"a": b"1", "b": b"2"}
        assert list(lookup.claimed) == ["c"]
        assert other.get_local(["a", "b"]) == {"a": b"1", "b": b"2"}


async def test_an_expired_value_is_not_found(redis_server: RedisServer) -> None:
    """Redis drops a value at the end of its lifetime."""
    async with store_of(redis_server) as one, store_of(redis_server) as other:
        await one.set({"a": Value(b"1", 0.001), "b": VALUE})
        while (await other.get_or_claim(["a"])).found:
            await other.release(["b"])
        assert (await other.get_or_claim(["b"])).found == {"b": b"[]"}


async def test_only_one_store_claims_a_key(redis_server: RedisServer) -> None:
    """A claim lasts until its store sets or releases the key; another store cannot release it."""
    async with store_of(redis_server) as one, store_of(redis_server) as other:
        assert list((await one.get_or_claim(["a", "b"])).claimed) == ["a", "b"]
        assert (await other.get_or_claim(["a", "b"])) == ({}, [])
        await other.release(["a"])
        assert (await other.get_or_claim(["a"])) == ({}, [])
        await one.set({"a": VALUE})
        await one.release(["b"])
        assert (await other.get_or_claim(["a", "b"])) == ({"a": b"[]"}, ["b"])


async def test_a_claim_is_renewed_while_its_process_lives(
    redis_server: RedisServer,
) -> None:
    """A claim is renewed, so a fetch may take longer than the lease."""
    async with (
        store_of(redis_server, lease_s=0.3) as one,
        store_of(redis_server) as other,
        redis.asyncio.Redis.from_url(redis_server.url) as plain,
    ):
        await one.get_or_claim(["a"])
        renewals = 0
        left_ms = await plain.pttl("a:claim")
        while renewals < 6:
            before_ms, left_ms = left_ms, await plain.pttl("a:claim")
            assert left_ms > 0
            renewals += left_ms > before_ms
        assert (await other.get_or_claim(["a"])) == ({}, [])


async def test_the_claim_of_a_process_that_died_expires(redis_server: RedisServer) -> None:
    """Another store can claim a key after the lease of a process that died."""
    code = (
        "import asyncio, os, sys\n"
        "from spot_billing_async.redis import RedisStore\n"
        "async def main():\n"
        "    async with RedisStore(sys.argv[1], timeout_s=10.0, lease_s=0.2) as store:\n"
        "        assert list((await store.get_or_claim(['a'])).claimed) == ['a']\n"
        "        os._exit(7)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, redis_server.url]
    done = await asyncio.to_thread(
        lambda: subprocess.run(command, check=False, timeout=60, cwd=Path(__file__).parents[2])  # noqa: S603  our own code
    )
    assert done.returncode == 7
    async with store_of(redis_server) as store:
        while not (lookup := await store.get_or_claim(["a"])).claimed:
            assert lookup.found == {}
            await asyncio.sleep(0.01)


@asynccontextmanager
async def two_processes(
    server: Emulator, redis_server: RedisServer, **options: Any
) -> AsyncIterator[list[SpotBillingClient]]:
    """Yield two clients with a store each, as two processes would have."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                SpotBillingClient(
                    "t",
                    base_url=server.base_url,
                    cache=CostCache(store_of(redis_server, **options)),
                )
            )
            for _ in range(2)
        ]


async def test_two_stores_fetch_no_day_twice(redis_server: RedisServer) -> None:
    """Two stores fetch each day once, at the same time or later, and from ranges that overlap."""
    async with (
        Emulator(token="t", latency="20ms") as server,
        two_processes(server, redis_server) as (one, other),
    ):
        last = FIRST + timedelta(days=9)
        middle = FIRST + timedelta(days=4)
        await one.costs.get(ACCOUNT, middle, middle, "service")
        found = await asyncio.gather(
            *(client.costs.get(ACCOUNT, FIRST, last, "service") for client in (one, other))
        )
        assert server.requests == 3
        assert found[0] == found[1]
        assert found[0] == await one.costs.uncached.get(ACCOUNT, FIRST, last, "service")


async def test_a_waiting_process_repeats_a_failed_fetch(redis_server: RedisServer) -> None:
    """A process that waits for a fetch of another one repeats it if that fails."""
    async with (
        Emulator(token="t", latency="20ms") as server,
        two_processes(server, redis_server) as (one, other),
    ):
        failing = asyncio.create_task(one.costs.get("nobody", FIRST, FIRST))
        with pytest.raises(SpotBillingError):
            await other.costs.get("nobody", FIRST, FIRST)
        with pytest.raises(SpotBillingError):
            await failing
        assert server.requests == 2


async def test_a_cancelled_fetch_releases_its_claims(redis_server: RedisServer) -> None:
    """The days of a cancelled fetch can be claimed at once, before the end of the lease."""
    async with (
        Emulator(token="t", latency="20ms") as server,
        two_processes(server, redis_server, lease_s=1000.0) as (one, other),
    ):
        cancelled = asyncio.create_task(one.costs.get(ACCOUNT, FIRST, FIRST))
        async with redis.asyncio.Redis.from_url(redis_server.url) as plain:
            while not await plain.keys("*:claim"):
                assert not cancelled.done()
        cancelled.cancel()
        assert await other.costs.get(ACCOUNT, FIRST, FIRST)


async def test_without_redis_each_process_uses_its_memory(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """No call fails during an outage, whose begin and end are logged once each."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    days = [FIRST + timedelta(days=n) for n in range(9)]
    async with Emulator(token="t") as server:
        cache = CostCache(store_of(redis_server, clock=clock))
        async with SpotBillingClient("t", base_url=server.base_url, cache=cache) as client:
            await client.costs.get(ACCOUNT, days[0], days[0])
            redis_server.stop()
            for day in days[:5]:
                await asyncio.gather(*(client.costs.get(ACCOUNT, day, day) for _ in range(5)))
                clock.now_s += _RETRY_AFTER_S
            assert server.requests == 5
            redis_server.start()
            await client.costs.get(ACCOUNT, days[5], days[5])  # has Redis checked
            while "is available again" not in caplog.text:  # noqa: ASYNC110  a log has no event
                await asyncio.sleep(0.001)
            for day in days:
                await client.costs.get(ACCOUNT, day, day)
            assert server.requests == 9
        async with store_of(redis_server) as other:
            assert len((await other.get_or_claim(["x"])).claimed) == 1
        async with redis.asyncio.Redis.from_url(redis_server.url) as plain:
            assert len(await plain.keys("spot-billing:*")) == 3
    warnings = [record for record in caplog.records if record.name == "spot_billing_async"]
    assert [record.levelname for record in warnings] == ["WARNING", "WARNING"]


async def test_a_redis_that_does_not_answer_is_not_used_for_a_while() -> None:
    """No call waits longer than the timeout, and further calls do not try Redis at once."""
    connected = 0

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        await reader.read()

    async with serve_streams(silent) as port, Emulator(token="t") as server:
        store = RedisStore(f"redis://127.0.0.1:{port}", timeout_s=0.05, clock=Clock())
        async with SpotBillingClient(
            "t", base_url=server.base_url, cache=CostCache(store)
        ) as client:
            for n in range(20):
                day = FIRST + timedelta(days=n)
                assert await client.costs.get(ACCOUNT, day, day)
        assert server.requests == 20
        assert connected == 1


@pytest.mark.parametrize(
    "answer",
    [b":x", b"$x", b"*x", b"$-5", b":7", b"*0", b"*1\r\n*1\r\n:5", b"*1\r\n*2\r\n:5\r\n:5", b"+OK"],
)
async def test_a_server_that_is_not_redis_fails_no_call(answer: bytes) -> None:
    """Any invalid response counts as an outage of Redis."""

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(answer + b"\r\n")

    async with serve_streams(answer_all) as port, Emulator(token="t") as server:
        cache = CostCache(RedisStore(f"redis://127.0.0.1:{port}", timeout_s=10.0))
        async with SpotBillingClient("t", base_url=server.base_url, cache=cache) as client:
            assert await client.costs.get(ACCOUNT, FIRST, FIRST)


async def test_many_values_are_set_and_looked_up_in_batches(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are bounded by keys and bytes, and their results are those of one request."""
    sizes: list[int] = []
    run = RedisStore._run

    async def counted(self: Any, script: str, keys: Any, *rest: Any) -> Any:
        sizes.append(len(keys))
        return await run(self, script, keys, *rest)

    monkeypatch.setattr(RedisStore, "_run", counted)
    values = {str(n): Value(b"0" * 200_000, 60.0) for n in range(10)}
    small = {f"small {n}": VALUE for n in range(100)}
    async with store_of(redis_server) as one, store_of(redis_server) as other:
        await one.set(values | small)
        assert sizes == [3, 3, 3, *[32] * 3, 5]
        lookup = await other.get_or_claim([*values, *small, "none"])
    assert lookup.found == {key: value.data for key, value in (values | small).items()}
    assert list(lookup.claimed) == ["none"]


async def test_the_memory_of_a_store_is_bounded() -> None:
    """A store keeps no more in memory than the given MemoryStore allows."""
    memory = MemoryStore(10_000)
    async with RedisStore("redis://127.0.0.1:1", memory=memory) as store:
        await store.set({str(n): Value(b"0" * 1000, 60.0) for n in range(100)})
    assert 0 < memory.size_bytes <= 10_000


async def test_secrets_are_never_shown(redis_server: RedisServer) -> None:
    """Token and Redis password appear in no Redis key or value, log, error, event or repr."""
    address = f"127.0.0.1:{redis_server.port}"
    with capturing() as kept:
        async with Emulator(token=SECRET) as server:
            for before in ("", f":{PASSWORD}@"):  # the second is refused: it has no password
                cache = CostCache(RedisStore(f"redis://{before}{address}", timeout_s=10.0))
                kept.keep(cache, cache._store)
                async with SpotBillingClient(
                    SECRET, base_url=server.base_url, cache=cache, hook=kept
                ) as client:
                    await attempt(kept, lambda: client.costs.get(ACCOUNT, FIRST, FIRST))
                    await attempt(kept, lambda: client.costs.get("nobody", FIRST, FIRST))
        await attempt(kept, lambda: RedisStore(f"http://:{PASSWORD}@host"))
        await attempt(kept, lambda: RedisStore(f"redis://:{PASSWORD}@{address}", timeout_s=0))
        await attempt(kept, lambda: RedisStore(f"redis://{address}/?socket_timeout={PASSWORD}"))
        async with redis.asyncio.Redis.from_url(redis_server.url) as plain:
            keys = await plain.keys("*")
            kept.texts += [repr(key) for key in keys]
            kept.texts += [repr(await plain.get(key)) for key in keys]
    assert len(keys) == 1
    for secret in (SECRET, PASSWORD):
        kept.assert_without(secret)


@pytest.mark.parametrize(
    "url", ["", "http://host", "redis://host:port", "redis://host:99999", "redis://host?x=1", 1]
)
def test_an_invalid_url_is_an_error(url: Any) -> None:
    """The error for an invalid URL says what is allowed."""
    with pytest.raises(ConfigError, match="url must be redis://"):
        RedisStore(url)


@pytest.mark.parametrize("name", ["timeout_s", "lease_s"])
def test_an_invalid_time_is_an_error(name: str) -> None:
    """The error for an invalid number of seconds names the argument."""
    times: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigError, match=name):
        RedisStore("redis://127.0.0.1", **times)


async def test_a_store_serves_one_cache_at_a_time() -> None:
    """A second cache is refused, because it would share the claims of the first."""
    async with RedisStore("redis://127.0.0.1:1") as store:
        with pytest.raises(ConfigError, match="one cache at a time"):
            await store.__aenter__()


async def test_no_call_fails_when_redis_restarts(redis_server: RedisServer) -> None:
    """All results are right when Redis is killed and restarted during calls of two stores."""
    async with (
        Emulator(token="t", latency="5ms±5ms") as server,
        two_processes(server, redis_server, timeout_s=0.5) as clients,
    ):
        expected = await clients[0].costs.uncached.get(
            ACCOUNT, FIRST, FIRST + timedelta(days=199), "service"
        )
        answered = 0

        async def call(client: SpotBillingClient, seed: int) -> None:
            nonlocal answered
            chance = random.Random(seed)  # noqa: S311  for a test, not for a secret
            for _ in range(20):
                first = FIRST + timedelta(days=chance.randrange(190))
                last = first + timedelta(days=chance.randrange(10))
                items = await client.costs.get(ACCOUNT, first, last, "service")
                assert items == [
                    each for each in expected if each.date and first <= each.date <= last
                ]
                answered += 1
                if answered == 100:
                    redis_server.stop()
                if answered == 300:
                    await asyncio.to_thread(redis_server.start)

        async with asyncio.TaskGroup() as callers:
            for seed in range(20):
                callers.create_task(call(clients[seed % 2], seed))
        assert answered == 400


async def test_what_never_expires_is_neither_read_nor_waited_for(redis_server: RedisServer) -> None:
    """A value or a claim without an expiry, or a claim of hours, is taken over."""
    async with (
        store_of(redis_server) as store,
        redis.asyncio.Redis.from_url(redis_server.url) as plain,
    ):
        await plain.set("a", "[]")
        await plain.set("b:claim", "somebody")
        await plain.set("c:claim", "somebody", ex=10**6)
        await plain.set("d:claim", "somebody", ex=60)
        lookup = await store.get_or_claim(["a", "b", "c", "d"])
        assert (dict(lookup.found), list(lookup.claimed)) == ({}, ["a", "b", "c"])
        assert 0 < await plain.pttl("c:claim") <= 10_000
        await store.set(dict.fromkeys("abc", VALUE))
        assert 0 < await plain.pttl("a") <= 60_000


async def test_a_value_is_kept_in_memory_for_a_day_at_most(redis_server: RedisServer) -> None:
    """The lifetime that Redis reports has a limit in the memory of a process."""
    clock = Clock()
    memory = MemoryStore(clock=clock)
    async with (
        store_of(redis_server, memory=memory) as store,
    ):
        await store.set({"a": Value(b"[]", 10.0**9)})
        memory.keep({"a": Value(b"", 0.0)})
        assert (await store.get_or_claim(["a"])).found == {"a": b"[]"}
        assert store.get_local(["a"]) == {"a": b"[]"}
        clock.now_s += 86_401
        assert store.get_local(["a"]) == {}


@pytest.mark.parametrize(
    "poison", [b"nonsense", b'[{"cost":1,"date":"2024-01-02"}]', b'[{"cost":1}]', b"{}"]
)
async def test_rows_of_another_day_are_fetched_again(
    redis_server: RedisServer, poison: bytes
) -> None:
    """A stored value whose rows are not of its day is replaced by what the API returns."""
    async with Emulator(token="t") as server:

        async def costs() -> list[Any]:
            async with SpotBillingClient(
                "t", base_url=server.base_url, cache=CostCache(store_of(redis_server))
            ) as client:
                rows: list[Any] = await client.costs.get(ACCOUNT, FIRST, FIRST)
                return rows

        expected = await costs()
        async with redis.asyncio.Redis.from_url(redis_server.url) as plain:
            (key,) = await plain.keys("spot-billing:*")
            good = await plain.get(key)
            await plain.set(key, poison, ex=60)
            assert await costs() == expected
            assert await plain.get(key) == good


async def test_a_claim_whose_answer_was_lost_is_taken_at_once(redis_server: RedisServer) -> None:
    """A store takes a claim of its own that it does not know, but none that a fetch of it holds."""
    async with store_of(redis_server, lease_s=1000.0) as store:
        await store.get_or_claim(["a", "b"])
        store._claimed.discard("a")  # as if the answer had been lost
        assert list((await store.get_or_claim(["a", "b"])).claimed) == ["a"]
        assert await store.get_or_claim(["a", "b"]) == ({}, [])


@pytest.mark.parametrize("poison", ["text", "set", "another key", "part"])
async def test_an_unreadable_value_is_replaced(redis_server: RedisServer, poison: str) -> None:
    """A value that no store wrote for its key is claimed again, kept by nobody, and replaced."""
    async with (
        store_of(redis_server) as store,
        store_of(redis_server) as other,
        redis.asyncio.Redis.from_url(redis_server.url) as plain,
    ):
        await store.set({"a": Value(b"[1]", 60.0), "b": Value(b"[2]", 60.0)})
        good = await plain.get("a")
        assert good is not None
        if poison == "set":
            await plain.delete("a")
            await plain.sadd("a", "member")
            await plain.expire("a", 60)
        else:
            values = {"text": b"[1]", "another key": await plain.get("b"), "part": good[:-1]}
            await plain.set("a", values[poison] or b"", ex=60)
        claimed: list[str] = []
        while not claimed:
            lookup = await other.get_or_claim(["a", "b"])
            assert lookup.found == {"b": b"[2]"}
            assert other.get_local(["a", "b"]) == {"b": b"[2]"}
            claimed += lookup.claimed
        assert claimed == ["a"]
        assert await store.get_or_claim(["a"]) == ({}, [])
        await other.set({"a": Value(b"[1]", 60.0)})
        assert await plain.get("a") == good


async def test_a_server_that_stores_nothing_is_not_back(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that responds, but is read-only, is unavailable until it has stored something."""
    caplog.set_level(logging.WARNING)
    clock = Clock()
    async with (
        store_of(redis_server, clock=clock) as store,
        redis.asyncio.Redis.from_url(redis_server.url) as plain,
    ):
        await store.set({"a": VALUE})
        await plain.replicaof("127.0.0.1", "1")
        for _ in range(5):
            assert list((await store.get_or_claim(["b"])).claimed) == ["b"]
            clock.now_s += _RETRY_AFTER_S
            await store.release([])
            await asyncio.gather(*store._tasks)
        assert [record.getMessage().split(" is ")[1] for record in caplog.records] == [
            "unavailable (ReadOnlyError): costs are cached by this process alone meanwhile"
        ]
        await plain.replicaof("NO", "ONE")
        clock.now_s += _RETRY_AFTER_S
        await store.release([])
        await asyncio.gather(*store._tasks)
        assert "is available again" in caplog.text
        assert await store.get_or_claim(["b"]) == ({}, ["b"])


async def test_a_blocked_event_loop_is_no_outage(redis_server: RedisServer) -> None:
    """An answer that arrived while other code blocked the event loop is not late."""
    reader, writer = await asyncio.open_connection("127.0.0.1", redis_server.port)
    async with time_limit(2.0):
        writer.write(b"PING\r\n")
        time.sleep(2.2)  # noqa: ASYNC251  blocks the loop for longer than the limit
        assert await reader.readline() == b"+PONG\r\n"
    writer.close()
    with pytest.raises(TimeoutError):
        async with time_limit(0.001):
            await asyncio.Event().wait()


async def test_many_writes_wait_for_a_slow_server(redis_server: RedisServer) -> None:
    """Writes that go on without their callers are few, and end before the store is closed."""
    async with store_of(redis_server, timeout_s=10.0) as store:
        redis_server.halt()
        writes = [asyncio.create_task(store.set({str(n): VALUE})) for n in range(40)]
        done, waiting = await asyncio.wait(writes, timeout=1.0)
        redis_server.go_on()
        assert done
        assert waiting
        await asyncio.gather(*writes)
    async with store_of(redis_server) as other:
        assert len((await other.get_or_claim([str(n) for n in range(40)])).found) == 40
