"""Store in Redis, with which several processes fetch each day only once.

A lookup that does not find a day claims it in the same script: it sets a second key, which holds a
random name of the process and expires after a lease. A process renews its claims while it lives, so
a fetch may take longer than the lease, and the claims of a process that died expire.

A store looks into the memory of its process first. If Redis is down or slow, each process works
with its memory alone: no call fails, but each process may fetch a day once.
"""

import asyncio
import builtins
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
_RENEWALS_PER_LEASE = 3
_BATCH_KEYS = 32  # a response with a whole year would block the event loop ...
_BATCH_BYTES = 512 * 1024  # ... and take longer than `timeout_s`
_RETRY_AFTER_S = 1.0
"""Seconds without further requests after Redis did not answer."""

_LONGEST_LEASE_S = 600.0
_LONGEST_KEPT_S = 86_400.0  # in this process, of what another one stored

# A value or a claim without an expiry is not of this package: it would be kept, or waited for, for
# ever. A claim that expires much later than any lease is not either.
# The keys of each script are those of the days, and then those of their claims.
_GET_OR_CLAIM = """
local answers = {}
local count = #KEYS / 2
for i = 1, count do
    local data, claim = redis.call('GET', KEYS[i]), KEYS[count + i]
    local left = redis.call('PTTL', KEYS[i])
    local claimed = redis.call('PTTL', claim)
    if data and left > 0 then
        answers[i] = {data, left}
    elseif claimed < 0 or claimed > tonumber(ARGV[3]) then
        redis.call('SET', claim, ARGV[1], 'PX', ARGV[2])
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
_SET_VALUES = """
for i = 1, #KEYS / 2 do
    redis.call('SET', KEYS[i], ARGV[2 * i], 'PX', ARGV[2 * i + 1])
end
"""
_SET = _SET_VALUES + _RELEASE
_RENEW = """
for i = #KEYS / 2 + 1, #KEYS do
    if redis.call('GET', KEYS[i]) == ARGV[1] then
        redis.call('PEXPIRE', KEYS[i], ARGV[2])
    end
end
"""


class RedisStore:
    """Store in Redis that several processes share: `CostCache(RedisStore(url))`.

    A process also keeps what it wrote or read in its memory, until it expires. Redis holds no
    token, but anyone who can read it can read the costs.

    Args:
        url: `redis://[user:password@]host[:port][/database]`; `rediss://` for TLS. User and
            password are masked in the repr and in the log.
        memory: store in this process; None for a `MemoryStore` of 64 MiB.
        timeout_s: seconds that Redis has to respond, connecting included. After a timeout it is not
            used for a second. The log has one warning when it fails and one when it is back.
            Default: 0.5.
        lease_s: seconds after which the claims of a process that died expire. Claims of more than
            ten minutes are ignored by processes with a shorter one. Default: 10.
        clock: monotonic clock, in seconds.

    Raises:
        ConfigError: a value is not valid; the message names the argument and what is allowed, and
            never shows the url.
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
        del url  # the locals of a traceback must not show it
        self._masked_url = masked_url(self._url)
        check_seconds("timeout_s", timeout_s)
        check_seconds("lease_s", lease_s)
        if memory is not None and not isinstance(memory, MemoryStore):
            raise ConfigError(f"memory must be a MemoryStore or None, got {memory!r}")
        self._memory = MemoryStore() if memory is None else memory
        self._timeout_s = timeout_s
        self._lease_s = lease_s
        self._clock = clock
        self._owner = token_hex(16)
        # Not `set`: in this class that is the method, for tools that evaluate the annotation.
        self._claimed: builtins.set[str] = set()
        self._retry_at_s = -inf
        self._availability = Availability(
            repr(self),
            when_down="costs are cached by this process alone meanwhile",
            when_up="costs are cached by all processes together again",
        )
        self._redis: Redis | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._redis is not None:
            raise ConfigError("this store is in use; a store serves one cache at a time")
        self._redis = _client(self._url, self._timeout_s)
        self._renewal = asyncio.create_task(self._renew_claims())
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
        """Return the unexpired data in the memory of this process."""
        return self._memory.get_local(keys)

    async def get_or_claim(self, keys: Sequence[str]) -> LookupResult:
        """Return data from Redis and claim missing keys; without Redis, use the memory."""
        found: dict[str, bytes] = {}
        claimed: list[str] = []
        for start in range(0, len(keys), _BATCH_KEYS):
            part = await self._get_or_claim_batch(keys[start : start + _BATCH_KEYS])
            found.update(part.found)
            claimed += part.claimed
        return LookupResult(found, claimed)

    async def _get_or_claim_batch(self, keys: Sequence[str]) -> LookupResult:
        longest_lease_s = max(_LONGEST_LEASE_S, self._lease_s)
        arguments = [self._owner, _ms(self._lease_s), _ms(longest_lease_s)]
        result = await self._run(_GET_OR_CLAIM, keys, arguments, partial(_decode_lookup, keys))
        if result is None:
            return await self._memory.get_or_claim(keys)
        found, claimed = result
        self._memory.keep(found)
        self._claimed.update(claimed)
        return LookupResult({key: value.data for key, value in found.items()}, claimed)

    async def set(self, values: Mapping[str, Value]) -> None:
        """Store values in memory and in Redis, and release the claims of their keys."""
        self._memory.keep(values)
        self._claimed.difference_update(values)
        for keys in _batches(values):
            arguments: list[Any] = [self._owner]
            for data, ttl_s in map(values.__getitem__, keys):
                arguments += [data, _ms(ttl_s)]
            await self._run(_SET, keys, arguments)

    async def release(self, keys: Sequence[str]) -> None:
        """Release the claims of this process on these keys."""
        self._claimed.difference_update(keys)
        await self._run(_RELEASE, keys, [self._owner])

    async def _renew_claims(self) -> None:
        """Extend the leases of this process's claims, until it is cancelled."""
        while True:
            await asyncio.sleep(self._lease_s / _RENEWALS_PER_LEASE)
            if self._claimed:
                await self._run(_RENEW, list(self._claimed), [self._owner, _ms(self._lease_s)])

    async def _run(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Iterable[Any],
        decode: Callable[[Any], Any] = bool,
    ) -> Any:  # noqa: ANN401  the type depends on `decode`
        """Run a script and return its decoded response; None if that failed."""
        if self._redis is None or self._clock() < self._retry_at_s:
            return None
        if self._availability.is_up is False:
            # One request checks whether Redis is back; the others skip it meanwhile.
            self._retry_at_s = self._clock() + _RETRY_AFTER_S
        try:
            run = self._redis.register_script(script)
            async with asyncio.timeout(self._timeout_s):
                claim_keys = (f"{key}:claim" for key in keys)
                response = decode(await run([*keys, *claim_keys], arguments))
        except Exception as error:  # noqa: BLE001  no failure of Redis may fail a call
            self._availability.mark_down(error)
            self._retry_at_s = self._clock() + _RETRY_AFTER_S
            return None
        self._availability.mark_up()
        self._retry_at_s = -inf
        return response

    def __repr__(self) -> str:
        if "_masked_url" not in vars(self):  # a traceback of __init__ may show an incomplete object
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}({self._masked_url!r})"


def _batches(values: Mapping[str, Value]) -> Iterator[list[str]]:
    """Yield the keys of values in batches of bounded number and size."""
    keys: list[str] = []
    size_bytes = 0
    for key, value in values.items():
        keys.append(key)
        size_bytes += len(value.data)
        if size_bytes >= _BATCH_BYTES or len(keys) >= _BATCH_KEYS:
            yield keys
            keys, size_bytes = [], 0
    if keys:
        yield keys


def _decode_lookup(keys: Sequence[str], response: Any) -> tuple[dict[str, Value], list[str]]:  # noqa: ANN401  as Redis sent it
    """Decode a response of `_GET_OR_CLAIM` to the values found and the keys claimed."""
    found, claimed = {}, []
    for key, entry in zip(keys, response, strict=True):
        if isinstance(entry, list):
            data, left_ms = entry
            ttl_s = min(left_ms / 1000, _LONGEST_KEPT_S)
            found[key] = Value(bytes(memoryview(data)), ttl_s)
        elif entry:
            claimed.append(key)
    return found, claimed


def _client(url: Secret, timeout_s: float) -> Redis:
    """Return a client with short timeouts, because a call can do without Redis."""
    pool = BlockingConnectionPool.from_url(
        url.reveal(),
        max_connections=_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1),  # the server may have closed a pooled connection
    )
    pool.connection_kwargs["decode_responses"] = False  # overrides the query of the URL
    return Redis.from_pool(pool)


def _ms(seconds: float) -> int:
    return max(1, ceil(seconds * 1000))
