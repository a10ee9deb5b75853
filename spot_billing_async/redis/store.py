"""Costs in Redis, so that a day is asked for once by all processes together.

Who looks for a day that is not there claims it in the same breath: a key beside it, of a random
name of the process, which runs out by itself after a lease. While its process lives, a claim is
renewed; so it does not matter how long the fetch takes, and a process that died holds nobody up for
longer than that.

Redis may be gone, or slow. Then each process goes on with what it keeps in memory, which it looks
into first at any time; a day may then be asked for once by each of them, and no call fails.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import ceil, inf
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async._core.auth.secret import Secret, hidden
from spot_billing_async.cache.store import LookupResult, MemoryStore, Value
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import check_seconds
from spot_billing_async.redis.server import Availability, masked_url

_CONNECTIONS = 16
_RENEWALS_A_LEASE = 3
_KEYS_AT_ONCE = 32  # of a whole year at once the answer would hold up the loop, ...
_BYTES_AT_ONCE = 512 * 1024  # ... and take longer than Redis has for one
_AWAY_S = 1.0
"""How long Redis is left alone after it did not answer."""

# Each script is given the keys of days, and then those of their claims.
_LOOK = """
local answers = {}
local count = #KEYS / 2
for i = 1, count do
    local data = redis.call('GET', KEYS[i])
    if data then
        answers[i] = {data, redis.call('PTTL', KEYS[i])}
    elseif redis.call('SET', KEYS[count + i], ARGV[1], 'NX', 'PX', ARGV[2]) then
        answers[i] = 1
    else
        answers[i] = 0
    end
end
return answers
"""
_RELEASE = """
for i = #KEYS / 2 + 1, #KEYS do
    if redis.call('GET', KEYS[i]) == ARGV[1] then
        redis.call('DEL', KEYS[i])
    end
end
"""
_STORE = """
for i = 1, #KEYS / 2 do
    redis.call('SET', KEYS[i], ARGV[2 * i], 'PX', ARGV[2 * i + 1])
end
"""
_WRITE = _STORE + _RELEASE
_RENEW = """
for i = #KEYS / 2 + 1, #KEYS do
    if redis.call('GET', KEYS[i]) == ARGV[1] then
        redis.call('PEXPIRE', KEYS[i], ARGV[2])
    end
end
"""


class RedisStore:
    """Keeps costs in Redis for all processes that use it: `CostCache(RedisStore(url))`.

    What a process wrote or read it keeps in memory too, for as long as it is good. Redis holds no
    token; whoever can read it can read the costs.

    Args:
        url: `redis://[user:password@]host[:port][/database]`; `rediss://` for TLS. It is hidden but
            for where it is.
        memory: what this process keeps for itself; None for up to 64 MiB.
        timeout_s: seconds that Redis has for an answer, connecting included; then it counts as gone
            for a second. That is said once in the log, and once when it is back.
        lease_s: seconds that a day stays claimed after the process that fetches it has died.
        clock: seconds that only grow.

    Raises:
        ConfigError: a value is not usable; names it and what is allowed, but never the url.
    """

    def __init__(
        self,
        url: str | Secret,
        *,
        memory: MemoryStore | None = None,
        timeout_s: float = 0.5,
        lease_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = hidden(url)
        del url  # no frame that raises holds it
        self._place = masked_url(self._url)
        check_seconds("timeout_s", timeout_s)
        check_seconds("lease_s", lease_s)
        if memory is not None and not isinstance(memory, MemoryStore):
            raise ConfigError(f"memory: {memory!r} is not allowed; allowed: a MemoryStore, or None")
        self._memory = MemoryStore() if memory is None else memory
        self._timeout_s = timeout_s
        self._lease_s = lease_s
        self._clock = clock
        self._owner = token_hex(16)
        self._claimed: set[str] = set()
        self._away_until_s = -inf
        self._reach = Availability(
            repr(self),
            when_down="costs are cached by this process alone meanwhile",
            when_up="costs are cached by all processes together again",
        )
        self._redis: Redis | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._redis is not None:
            raise ConfigError("store: it is in use already; allowed: one cache at a time")
        self._redis = _client(self._url, self._timeout_s)
        self._renewal = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        redis, self._redis = self._redis, None
        assert redis is not None  # noqa: S101  entered before it is left
        assert self._renewal is not None  # noqa: S101  as above
        self._claimed.clear()
        self._renewal.cancel()
        try:
            await until_done(self._renewal)
        finally:
            with suppress(RedisError, OSError):
                await redis.aclose()

    def get_local(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What this process has in memory."""
        return self._memory.get_local(keys)

    async def get_or_claim(self, keys: Sequence[str]) -> LookupResult:
        """Look into Redis, and claim what is not there; without Redis, into memory."""
        found: dict[str, bytes] = {}
        claimed: list[str] = []
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part = await self._look(keys[start : start + _KEYS_AT_ONCE])
            found.update(part.found)
            claimed += part.claimed
        return LookupResult(found, claimed)

    async def _look(self, keys: Sequence[str]) -> LookupResult:
        arguments = [self._owner, _ms(self._lease_s)]
        looked = await self._run(_LOOK, keys, arguments, partial(_looked, keys))
        if looked is None:
            return await self._memory.get_or_claim(keys)
        found, claimed = looked
        self._memory.keep(found)
        self._claimed.update(claimed)
        return LookupResult({key: value.data for key, value in found.items()}, claimed)

    async def set(self, values: Mapping[str, Value]) -> None:
        """Keep values, and let all others have them."""
        self._memory.keep(values)
        self._claimed.difference_update(values)
        for keys in _batches(values):
            arguments: list[Any] = [self._owner]
            for data, ttl_s in map(values.__getitem__, keys):
                arguments += [data, _ms(ttl_s)]
            await self._run(_WRITE, keys, arguments)

    async def release(self, keys: Sequence[str]) -> None:
        """Claim keys no longer."""
        self._claimed.difference_update(keys)
        await self._run(_RELEASE, keys, [self._owner])

    async def _renew(self) -> None:
        """Renew the claims of what is being fetched here."""
        while True:
            await asyncio.sleep(self._lease_s / _RENEWALS_A_LEASE)
            if self._claimed:
                await self._run(_RENEW, list(self._claimed), [self._owner, _ms(self._lease_s)])

    async def _run(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Iterable[Any],
        read: Callable[[Any], Any] = bool,
    ) -> Any:  # noqa: ANN401  what is read of what a script answers
        """What a script answers, read; None where Redis does not, or it is no such answer."""
        if self._redis is None or self._clock() < self._away_until_s:
            return None
        if self._reach.is_up is False:  # one asks whether it is back, and not all at once
            self._away_until_s = self._clock() + _AWAY_S
        try:
            run = self._redis.register_script(script)
            async with asyncio.timeout(self._timeout_s):
                answer = read(await run([*keys, *map(_claim, keys)], arguments))
        except Exception as error:  # noqa: BLE001  whatever it is that answers, no call fails by it
            self._reach.mark_down(error)
            self._away_until_s = self._clock() + _AWAY_S
            return None
        self._reach.mark_up()
        self._away_until_s = -inf
        return answer

    def __repr__(self) -> str:
        if "_place" not in vars(self):  # it is refused, and its traceback is shown
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}({self._place!r})"


def _batches(values: Mapping[str, Value]) -> Iterator[list[str]]:
    """The keys of values, some at a time: about as many as can be written at once."""
    keys: list[str] = []
    size_bytes = 0
    for key, value in values.items():
        keys.append(key)
        size_bytes += len(value.data)
        if size_bytes >= _BYTES_AT_ONCE or len(keys) >= _KEYS_AT_ONCE:
            yield keys
            keys, size_bytes = [], 0
    if keys:
        yield keys


def _looked(keys: Sequence[str], answers: Any) -> tuple[dict[str, Value], list[str]]:  # noqa: ANN401  as Redis sent it
    """What is there, and what was claimed, by the answers of the script that looks."""
    found, claimed = {}, []
    for key, answer in zip(keys, answers, strict=True):
        if isinstance(answer, list):
            data, left_ms = answer
            found[key] = Value(bytes(memoryview(data)), left_ms / 1000)
        elif answer:
            claimed.append(key)
    return found, claimed


def _client(url: Secret, timeout_s: float) -> Redis:
    """A client that gives up soon: what it cannot have, others give."""
    pool = BlockingConnectionPool.from_url(
        url.reveal(),
        max_connections=_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1),  # a connection that was kept may have been closed meanwhile
    )
    pool.connection_kwargs["decode_responses"] = False  # whatever the URL says
    return Redis.from_pool(pool)


def _claim(key: str) -> str:
    return f"{key}:claim"


def _ms(seconds: float) -> int:
    return max(1, ceil(seconds * 1000))
