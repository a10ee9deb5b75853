"""Store in Redis, with which several processes fetch each day only once.

A lookup that does not find a day claims it in the same script: it sets a second key, which holds a
random name of the process and expires after a lease. A process renews its claims while it lives, so
a fetch may take longer than the lease. The claims of a process that died expire, and so do those
whose release was lost. If the response to a lookup is lost, the process may hold a claim that it
does not know: its next lookup takes it.

A store looks into the memory of its process first. If Redis is down or slow, each process works
with its memory alone: no call fails, but each process may fetch a day once. A call waits for Redis
until the first failure; after it a task of the store finds out when Redis can store values again.

Each value begins with a digest of its key and its data. Data without it is not of this package: it
is deleted, and neither kept in memory nor returned.
"""

import asyncio
import builtins
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from math import ceil, inf
from secrets import token_hex
from types import TracebackType
from typing import Any, NamedTuple, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async._core.auth.secret import Secret, hidden
from spot_billing_async.cache.store import LookupResult, MemoryStore, Value
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import check_seconds
from spot_billing_async.redis.server import Availability, masked_url, refuse_cluster, time_limit

_CONNECTIONS = 16
_RENEWALS_PER_LEASE = 6
_BATCH_KEYS = 32  # a response with a whole year would block the event loop ...
_BATCH_BYTES = 512 * 1024  # ... and take longer than `timeout_s`
_RETRY_AFTER_S = 1.0
"""Seconds without further requests after Redis did not answer."""

_WRITE_WAIT_S = 0.1
"""Seconds that a call waits for its write, which then goes on without it."""

_PROBE_KEY = "spot-billing:probe"
_DIGEST_BYTES = 16
_OWN = 2  # in a response of `_GET_OR_CLAIM`: a claim that this process held already
_LONGEST_LEASE_S = 600.0
_LONGEST_KEPT_S = 86_400.0  # in this process, of what another one stored

# A value or a claim without an expiry is not of this package: it would be kept, or waited for, for
# ever. A claim that expires much later than any lease is not either, nor is a key of another type.
# The keys of each script are those of the days, and then those of their claims.
_GET_OR_CLAIM = """
local answers = {}
local count = #KEYS / 2
for i = 1, count do
    local data, claim = redis.pcall('GET', KEYS[i]), KEYS[count + i]
    local left = redis.call('PTTL', KEYS[i])
    local claimed = redis.call('PTTL', claim)
    local is_own = redis.pcall('GET', claim) == ARGV[1]
    if type(data) == 'string' and left > 0 then
        answers[i] = {data, left}
    elseif is_own or claimed < 0 or claimed > tonumber(ARGV[3]) then
        redis.call('SET', claim, ARGV[1], 'PX', ARGV[2])
        answers[i] = is_own and 2 or 1
    else
        answers[i] = 0
    end
end
return answers
"""
_RELEASE = """
for i = #KEYS / 2 + 1, #KEYS do
    if redis.pcall('GET', KEYS[i]) == ARGV[1] then
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
    if redis.pcall('GET', KEYS[i]) == ARGV[1] then
        redis.call('PEXPIRE', KEYS[i], ARGV[2])
    end
end
"""
_DELETE = """
for i = 1, #KEYS / 2 do
    redis.call('DEL', KEYS[i])
end
"""


class _Lookup(NamedTuple):
    """Decoded response of `_GET_OR_CLAIM`.

    Attributes:
        found: values by key.
        claimed: keys that this process has claimed just now.
        own: keys whose claim it held already.
        unreadable: keys with data that is not of this package.
    """

    found: dict[str, Value]
    claimed: list[str]
    own: list[str]
    unreadable: list[str]


class RedisStore:
    """Store in Redis that several processes share: `CostCache(RedisStore(url))`.

    A process also keeps what it wrote or read in its memory, until it expires. Redis holds no
    token, but anyone who can read it can read the costs.

    Args:
        url: `redis://[user:password@]host[:port][/database]`; `rediss://` for TLS. User and
            password are masked in the repr and in the log.
        memory: store in this process; None for a `MemoryStore` of 64 MiB.
        timeout_s: seconds that Redis has to respond, connecting included. After a failure it is not
            used for a second, and then until it has stored something. The log has one warning when
            it fails and one when it is back. Default: 0.25.
        lease_s: seconds after which the claims of a process that died expire, or of one that cannot
            reach Redis. A process whose event loop is blocked for most of it may lose its
            claims: others then fetch its days too. Claims of more than ten minutes are ignored by
            processes with a shorter one. Default: 0.75.
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
        timeout_s: float = 0.25,
        lease_s: float = 0.75,
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
        # Keys that fetches of this process have claimed, until that has ended in Redis.
        self._claimed: builtins.set[str] = set()
        self._tasks: builtins.set[asyncio.Task[None]] = set()  # writes, and a check of Redis
        self._retry_at_s = inf
        self._availability = Availability(
            repr(self),
            when_down="costs are cached by this process alone meanwhile",
            when_up="costs are cached by all processes together again",
        )
        self._redis: Redis | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the store.

        Raises:
            ConfigError: it is open already, or the server is a node of a Redis Cluster.
        """
        if self._redis is not None:
            raise ConfigError("this store is in use; a store serves one cache at a time")
        self._redis = redis = _client(self._url, self._timeout_s)
        self._renewing = _client(self._url, self._timeout_s)
        try:
            await refuse_cluster(redis, repr(self), self._timeout_s)
        except (ConfigError, asyncio.CancelledError):
            self._redis = None
            await redis.aclose()
            raise
        except Exception as error:  # noqa: BLE001  no failure of Redis may fail a call
            self._mark_down(error)
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
        self._renewal.cancel()
        try:
            for task in (self._renewal, *self._tasks):
                await until_done(task)
        finally:
            self._claimed.clear()
            for client in (redis, self._renewing):
                with suppress(RedisError, OSError):
                    await client.aclose()

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
        found, claimed, own, unreadable = result
        # The response to an earlier lookup was lost, unless a fetch of this process has the key.
        claimed += [key for key in own if key not in self._claimed]
        self._claimed.update(claimed)
        self._memory.keep(found)
        if unreadable:  # the caller looks these up again
            await self._run(_DELETE, unreadable, [])
        return LookupResult({key: value.data for key, value in found.items()}, claimed)

    async def set(self, values: Mapping[str, Value]) -> None:
        """Store values in memory and in Redis, and release the claims of their keys."""
        self._memory.keep(values)
        await self._write(self._set(values))

    async def _set(self, values: Mapping[str, Value]) -> None:
        try:
            for keys in _batches(values):
                arguments: list[Any] = [self._owner]
                for key in keys:
                    data, ttl_s = values[key]
                    arguments += [_digest(key, data) + data, _ms(ttl_s)]
                await self._run(_SET, keys, arguments)
        finally:
            self._claimed.difference_update(values)

    async def release(self, keys: Sequence[str]) -> None:
        """Release the claims of this process on these keys."""
        await self._write(self._release(keys))

    async def _release(self, keys: Sequence[str]) -> None:
        # A later fetch of this process must not take a claim that is deleted right after.
        self._claimed.update(keys)
        try:
            await self._run(_RELEASE, keys, [self._owner])
        finally:
            self._claimed.difference_update(keys)

    async def _write(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a write in a task, and wait for its end, but not long unless there are many."""
        task = self._start(work)
        timeout_s = _WRITE_WAIT_S if len(self._tasks) <= _CONNECTIONS else None
        await asyncio.wait([task], timeout=timeout_s)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _renew_claims(self) -> None:
        """Extend the leases of this process's claims, until it is cancelled."""
        while True:
            await asyncio.sleep(self._lease_s / _RENEWALS_PER_LEASE)
            if self._claimed:
                await self._run(_RENEW, list(self._claimed), [self._owner, _ms(self._lease_s)])

    async def _check(self) -> None:
        """Store a value that expires at once, to find out whether Redis can be used again."""
        if await self._try(_SET, [_PROBE_KEY], [self._owner, b"", 1], bool) is not None:
            self._availability.mark_up()

    async def _run(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Iterable[Any],
        decode: Callable[[Any], Any] = bool,
    ) -> Any:  # noqa: ANN401  the type depends on `decode`
        """Run a script and return its decoded response; None if that failed, or Redis is down."""
        if self._availability.is_up is not False:
            return await self._try(script, keys, arguments, decode)
        if self._redis is not None and self._clock() >= self._retry_at_s:
            self._retry_at_s = inf
            self._start(self._check())
        return None

    async def _try(
        self,
        script: str,
        keys: Sequence[str],
        arguments: Iterable[Any],
        decode: Callable[[Any], Any],
    ) -> Any:  # noqa: ANN401  the type depends on `decode`
        if self._redis is None:
            return None
        try:
            # A renewal must not queue for a connection behind the lookups of other calls.
            redis = self._renewing if script is _RENEW else self._redis
            run = redis.register_script(script)
            async with time_limit(self._timeout_s):
                claim_keys = (f"{key}:claim" for key in keys)
                return decode(await run([*keys, *claim_keys], arguments))
        except Exception as error:  # noqa: BLE001  no failure of Redis may fail a call
            self._mark_down(error)
            return None

    def _mark_down(self, error: Exception) -> None:
        self._availability.mark_down(error)
        self._retry_at_s = self._clock() + _RETRY_AFTER_S

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


def _decode_lookup(keys: Sequence[str], response: Any) -> _Lookup:  # noqa: ANN401  as Redis sent it
    lookup = _Lookup({}, [], [], [])
    for key, entry in zip(keys, response, strict=True):
        if isinstance(entry, list):
            packed, left_ms = entry
            digest, data = packed[:_DIGEST_BYTES], bytes(packed[_DIGEST_BYTES:])
            if digest == _digest(key, data):
                ttl_s = min(left_ms / 1000, _LONGEST_KEPT_S)
                lookup.found[key] = Value(data, ttl_s)
            else:
                lookup.unreadable.append(key)
        elif entry:
            (lookup.own if entry == _OWN else lookup.claimed).append(key)
    return lookup


def _digest(key: str, data: bytes) -> bytes:
    """Return a digest of fixed length, which a value of another key or a part of one has not."""
    return blake2b(data, digest_size=_DIGEST_BYTES, key=blake2b(key.encode()).digest()).digest()


def _client(url: Secret, timeout_s: float) -> Redis:
    """Return a client with short timeouts, because a call can do without Redis."""
    pool = BlockingConnectionPool.from_url(
        url.reveal(),
        max_connections=_CONNECTIONS,
        timeout=timeout_s,
        # The caller bounds each command. With a timeout, redis-py sends by `asyncio.wait_for`, and
        # on Python 3.11 that swallows a cancellation which comes when the command has been sent.
        socket_timeout=None,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1),  # the server may have closed a pooled connection
    )
    pool.connection_kwargs["decode_responses"] = False  # overrides the query of the URL
    return Redis.from_pool(pool)


def _ms(seconds: float) -> int:
    return max(1, ceil(seconds * 1000))
