"""Shared quota whose log is kept in streams of a Redis server.

Each limiter has a stream. One task reads all streams. Another writes the new events of this
process's limiters, all that arise in one loop iteration together, and waits until they are read
back. A server that is down or slow is thus noticed within `timeout_s`. Errors of the server end
here: they detach the limiters, and are logged.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from math import inf
from secrets import token_hex
from weakref import WeakValueDictionary

import anyio

from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async._core.auth.secret import Secret, hidden
from spot_billing_async._core.pacing.abc import WaitingCalls
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import check_seconds, checked_id
from spot_billing_async.redis.limiter import SharedLimiter
from spot_billing_async.redis.replica import (
    FIRST_ID,
    LogEntry,
    Replica,
    decode_entry,
    encode,
    has_snapshot,
    is_after,
    latest_replica,
    snapshot_of,
    stamp_s,
)
from spot_billing_async.redis.server import Availability, masked_url, time_limit
from spot_billing_async.redis.server_clock import ServerClock
from spot_billing_async.redis.streams import BATCH, NewEntry, StreamEntry, Streams
from spot_billing_async.version import __version__

_BLOCK_S = 1.0  # maximum duration of a read without new entries, ...
_BLOCK_JOINING_S = 0.001  # ... and while limiters wait to be attached
_JOINS_AT_ONCE = 4  # limiters to attach between two reads, so that the attached ones stay current
_IDLE_S = 300.0  # after which an unused limiter is detached, until it is used again
_MOST_ACTIVE = 1_000  # limiters that are followed without being in use
_MIN_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0
_CLOCK_JUMP_S = 1.0  # larger changes of the server's clock invalidate recorded times


class _ClockError(Exception):
    """The server's clock was set back, so the stamps of its streams would stand still."""


class RedisQuota:
    """Quota shared through Redis: all processes that use it pace their requests as one.

    Pass it to the client: `SpotBillingClient(quota=RedisQuota(...))`. Processes share a quota if
    they have the same token, or the same tenant name (`tenant=`, for tokens from a provider), and
    the same `base_url`, prefix and version of this package. Each client needs a `RedisQuota` of its
    own.

    While Redis is down or slow, each process paces its own requests, starting from the last shared
    state. That is logged once (`spot_billing_async`, WARNING), and once more when Redis is
    available again. It never fails a call.

    Args:
        url: `redis://[user:password@]host[:port][/database]`; `rediss://` for TLS. The credentials
            are masked in representations and logs.
        prefix: prefix of the keys. A key reveals neither token nor server, and expires two hours
            after its last use.
        timeout_s: seconds Redis has to respond. A call waits for Redis no longer than that, nor
            than a quarter of its deadline. Default: 0.25.

    Raises:
        ConfigError: an argument is invalid.
    """

    def __init__(
        self,
        url: str | Secret = "redis://localhost:6379/0",
        *,
        prefix: str = "spot-billing",
        timeout_s: float = 0.25,
    ) -> None:
        self._url = hidden(url)
        del url  # no frame that raises holds it
        self._masked_url = masked_url(self._url)
        check_seconds("timeout_s", timeout_s)
        self._prefix = checked_id("prefix", prefix)
        self._timeout_s = timeout_s
        self.owner: str = token_hex(6)
        self.waiting_calls: WaitingCalls | None = None
        self._clock: Callable[[], float] = time.monotonic
        self.server_clock: ServerClock = ServerClock(time.monotonic(), time.time())
        self._limiters: WeakValueDictionary[str, SharedLimiter] = WeakValueDictionary()
        self._active: set[SharedLimiter] = set()
        self._to_write: set[SharedLimiter] = set()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        if "_masked_url" not in vars(self):  # rejected in __init__, whose traceback shows it
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}({self._masked_url!r})"

    def limiter(self, name: str, deadline_s: float) -> SharedLimiter:
        """Return the shared limiter of a name, always the same one for the same name.

        Args:
            name: identifies server, route and consumer of the quota.
            deadline_s: the client's default deadline in seconds, which bounds `timeout_s`.
        """
        digest = blake2b(f"{__version__} {name}".encode(), digest_size=16).hexdigest()
        key = f"{self._prefix}:quota:{digest}"
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = self._limiters[key] = SharedLimiter(key, self)
        # A call must have time left to send its request after it waited for Redis.
        self._timeout_s = min(self._timeout_s, deadline_s / 4)
        return limiter

    async def open(self, waiting_calls: WaitingCalls, clock: Callable[[], float]) -> None:
        """Start to share the quota.

        Raises:
            ConfigError: another client uses it already, or the server is a node of a Redis Cluster.
        """
        if self._task is not None:
            raise ConfigError(
                "quota must be a separate RedisQuota for each client; this one is already in use"
            )
        self.owner, self.waiting_calls, self._clock = token_hex(6), waiting_calls, clock
        self.server_clock = ServerClock(clock(), time.time())
        self._availability = Availability(
            repr(self),
            when_down="each process paces its own requests meanwhile",
            when_up="all processes pace their requests as one",
        )
        self._write_due, self._log_read = asyncio.Event(), asyncio.Event()
        self._read_scope = anyio.CancelScope()
        self._task = asyncio.create_task(self._run())
        streams = Streams(self._url, self._timeout_s)
        try:
            await streams.refuse_cluster(repr(self), self._timeout_s)
        except (ConfigError, asyncio.CancelledError):
            await self.close()
            raise
        except Exception as error:  # noqa: BLE001  no error of the server fails a call
            self._availability.mark_down(error)
        finally:
            await streams.close()

    async def close(self) -> None:
        """Stop, and return the permits that this process still holds."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            for limiter in self._active:
                limiter.leave(self._clock())
            with anyio.move_on_after(self._timeout_s):
                while any(limiter.has_pending for limiter in self._active):
                    self._log_read.clear()
                    await self._log_read.wait()
        finally:
            task.cancel()
            await until_done(task)
            for limiter in self._active:
                limiter.is_active = False
                limiter.detach(self._clock())
            self._active.clear()
            self.waiting_calls = None

    def schedule_write(self, limiter: SharedLimiter) -> None:
        """Write a limiter's new events soon."""
        self._to_write.add(limiter)
        self._write_due.set()

    def activate(self, limiter: SharedLimiter) -> float:
        """Attach a limiter soon; return the seconds that it may wait for that."""
        if self._task is None:
            return -inf
        limiter.is_active = True
        self._active.add(limiter)
        self._read_scope.cancel()  # a read may block for a second
        return -inf if self._availability.is_up is False else self._timeout_s

    async def _run(self) -> None:
        """Replicate while the server works, and reconnect with a growing delay."""
        backoff_s = _MIN_BACKOFF_S
        while True:
            began_s = self._clock()
            try:
                await self._replicate()
            except Exception as error:  # noqa: BLE001  no error of the server fails a call
                self._availability.mark_down(error)
                self._to_write.clear()
                for limiter in tuple(self._active):
                    limiter.detach(self._clock())
                self._log_read.set()  # wakes `close`, which nothing else would now
            if self._clock() - began_s > _MAX_BACKOFF_S:
                backoff_s = _MIN_BACKOFF_S
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  no secret
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    async def _replicate(self) -> None:
        """Read and write the log until an error."""
        streams = Streams(self._url, self._timeout_s)
        try:
            async with time_limit(self._timeout_s):
                time_s = await streams.time_s()
            if abs(self.server_clock.synchronize(time_s, self._clock())) > _CLOCK_JUMP_S:
                for limiter in self._limiters.values():
                    limiter.replica = Replica()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read_log, streams)
                tasks.start_soon(self._write_log, streams)
        finally:
            await streams.close()

    async def _read_log(self, streams: Streams) -> None:
        """Keep the replicas of all active limiters in step with their streams."""
        while True:
            detached = [limiter for limiter in self._active if not limiter.is_attached]
            for limiter in detached[:_JOINS_AT_ONCE]:
                await self._attach(streams, limiter)
            for limiter in self._active:
                limiter.renew(self._clock())
            self._detach_idle()
            limiters = {limiter.key: limiter for limiter in self._active if limiter.is_attached}
            for key, rows in await self._next_rows(streams, limiters):
                now_s, limiter = self._clock(), limiters[key]
                self.server_clock.observe(stamp_s(rows[-1][0]), now_s)
                if not limiter.advance(_decode(rows), now_s):
                    limiter.detach(now_s)  # it is attached again in the next iteration
            self._log_read.set()

    async def _next_rows(
        self, streams: Streams, limiters: Mapping[str, SharedLimiter]
    ) -> list[tuple[str, list[StreamEntry]]]:
        """Return the next entries by stream; empty after a timeout or for a limiter to attach."""
        last_ids = {key: limiter.replica.last_id for key, limiter in limiters.items()}
        block_s = _BLOCK_S if len(limiters) == len(self._active) else _BLOCK_JOINING_S
        found: list[tuple[str, list[StreamEntry]]] = []
        with anyio.fail_after(block_s + self._timeout_s) as self._read_scope:
            if last_ids:
                found = await streams.wait_for_next(last_ids, block_s)
            else:
                await anyio.sleep(block_s)
        return found

    async def _attach(self, streams: Streams, limiter: SharedLimiter) -> None:
        """Bring a limiter's replica up to date with its stream, and attach it."""
        log = await self._read_stream(streams, limiter.key)
        found = latest_replica(log, self._stamp_s())
        if not (limiter.is_accepted or found):
            self._active.remove(limiter)
            limiter.stay_detached(self._clock())
            return
        if not log:
            data = encode(self._first_entry(limiter, FIRST_ID))
            async with time_limit(self._timeout_s):
                await streams.create(limiter.key, FIRST_ID, data)
            log = await self._read_stream(streams, limiter.key)
            if log and log[0][1].owner == self.owner:
                limiter.unshared.clear()  # they are in the snapshot that was written
        elif found is None:
            # The stream was deleted while others kept writing, or its snapshots are not valid: all
            # reattach at this one.
            data = encode(self._first_entry(limiter, log[-1][0]))
            async with time_limit(self._timeout_s):
                await streams.append([NewEntry(limiter.key, data, None)])
            log = await self._read_stream(streams, limiter.key)
        found = latest_replica(log, self._stamp_s())
        if found is None:  # it was written above, and has been deleted or trimmed since
            raise LookupError("the log has no snapshot")
        snapshot_id, replica = found
        since = [(entry_id, entry) for entry_id, entry in log if is_after(entry_id, snapshot_id)]
        for number, (entry_id, entry) in enumerate(since):
            replica.apply_logged(entry_id, entry)
            if number % BATCH == 0:
                await asyncio.sleep(0)  # thousands of entries would block the event loop
        limiter.attach(replica, self._clock())

    def _stamp_s(self) -> float:
        return self.server_clock.stamp_s(self._clock())

    def _first_entry(self, limiter: SharedLimiter, last_id: str) -> LogEntry:
        """Return an entry that a log without a snapshot can begin with.

        Args:
            limiter: limiter whose replica becomes the snapshot.
            last_id: id of the entry before it.
        """
        replica = limiter.replica
        replica.entries = 0
        replica.last_id = replica.checkpoint = replica.kept_from = last_id
        return LogEntry(self.owner, 0, [snapshot_of(replica)])

    async def _read_stream(self, streams: Streams, key: str) -> list[tuple[str, LogEntry]]:
        """Return all entries of a stream."""
        log: list[tuple[str, LogEntry]] = []
        while True:
            async with time_limit(self._timeout_s):
                rows = await streams.read_after(key, log[-1][0] if log else None)
            if not rows:
                return log
            log += _decode(rows)

    async def _write_log(self, streams: Streams) -> None:
        """Write the limiters' new events, and wait until they are read back."""
        while True:
            await self._write_due.wait()
            self._write_due.clear()
            limiters = [limiter for limiter in self._to_write if limiter.has_pending]
            self._to_write.clear()
            entries: list[NewEntry] = []
            for limiter in limiters:
                entry = limiter.take_entry()
                # A snapshot makes the entries before the previous one unnecessary.
                kept_from = limiter.replica.kept_from if has_snapshot([entry]) else None
                entries.append(NewEntry(limiter.key, encode(entry), kept_from))
            async with time_limit(self._timeout_s):
                ahead_s = await streams.append(entries)
                stopped = [key for key, s in ahead_s.items() if abs(s) > _CLOCK_JUMP_S]
                if stopped:
                    await streams.delete(stopped)
                    raise _ClockError
                while any(limiter.has_unconfirmed for limiter in limiters):
                    self._log_read.clear()
                    await self._log_read.wait()
            self._availability.mark_up()

    def _detach_idle(self) -> None:
        # A server of thousands of tenants does not follow the streams of those that are inactive.
        now_s, surplus = self._clock(), len(self._active) - _MOST_ACTIVE
        idle = [limiter for limiter in self._active if limiter.is_idle(now_s, _IDLE_S)]
        if surplus > len(idle):
            unused = (limiter for limiter in self._active if limiter.is_idle(now_s, 0.0))
            idle = sorted(unused, key=lambda limiter: limiter.used_s)[:surplus]
        for limiter in idle:
            limiter.detach(now_s)
            limiter.is_active = False
            self._active.remove(limiter)


def _decode(rows: list[StreamEntry]) -> list[tuple[str, LogEntry]]:
    return [(entry_id, decode_entry(data)) for entry_id, data in rows]
