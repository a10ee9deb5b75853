"""The log of a shared quota as streams of a Redis server.

Each gate has a stream. One task reads all of them; another writes what the gates of this process
tell, all that came up in one turn of the loop at once, and waits until it is read again: so it is
known within `timeout_s` that the server is gone or slow. What the server raises ends here: it makes
the gates go apart, and is told in the log.
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
from spot_billing_async._core.pacing.abc import WaitingCalls as Line
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import check_seconds, checked_id
from spot_billing_async.redis.limiter import SharedLimiter
from spot_billing_async.redis.replica import (
    FIRST_ID,
    Entry,
    Replica,
    has_state,
    is_after,
    latest_state,
    read_entry,
    read_replica,
    stamp_s,
    state_of,
    written,
)
from spot_billing_async.redis.server import Reach, place_of
from spot_billing_async.redis.server_clock import ServerClock
from spot_billing_async.redis.streams import BATCH, Addition, Row, Streams
from spot_billing_async.version import __version__

_BLOCK_S = 1.0  # for which a read waits where nothing happens, ...
_GLANCE_S = 0.001  # ... and where gates wait to take part
_JOINS_AT_ONCE = 4  # of which so many do, before the others are read on
_IDLE_S = 300.0  # then a gate no longer takes part, until it is used again
_LEAST_BACK_OFF_S = 0.1
_MOST_BACK_OFF_S = 5.0
_CLOCK_JUMP_S = 1.0  # what happened before is of no use to a clock that is so far off


class _ClockError(Exception):
    """The server's clock went back: the stamps of its streams would stand still."""


class RedisQuota:
    """Lets all processes that have it pace as one: `SpotBillingClient(quota=RedisQuota(...))`.

    Those share a quota that have the same token, or name of the tenant (`tenant=`, for a token that
    is provided), `base_url`, prefix and version of this package. Each client needs a `RedisQuota`
    of its own.

    Where Redis is gone or slow each process paces by itself, from where it stood; it says so once
    in the log (`spot_billing_async`, WARNING), and again once it is back. No call fails by it.

    Args:
        url: `redis://[user:password@]host[:port][/database]`; `rediss://` for TLS. It is hidden but
            for where it is.
        prefix: of the keys. They stand for token and server, and show neither; each is gone two
            hours after its last use.
        timeout_s: seconds for Redis to answer; a call waits for it no longer than that, nor than a
            quarter of its deadline.

    Raises:
        ConfigError: an argument is not usable.
    """

    def __init__(
        self,
        url: str | Secret = "redis://localhost:6379/0",
        *,
        prefix: str = "spot-billing",
        timeout_s: float = 0.5,
    ) -> None:
        self._url = hidden(url)
        del url  # no frame that raises holds it
        self._place = place_of(self._url)
        check_seconds("timeout_s", timeout_s)
        self._prefix = checked_id("prefix", prefix)
        self._timeout_s = timeout_s
        self.owner = token_hex(6)
        self.line: Line | None = None
        self._clock: Callable[[], float] = time.monotonic
        self.server_clock = ServerClock(time.monotonic(), time.time())
        self._limiters: WeakValueDictionary[str, SharedLimiter] = WeakValueDictionary()
        self._active: set[SharedLimiter] = set()
        self._telling: set[SharedLimiter] = set()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        if "_place" not in vars(self):  # it is refused, and its traceback is shown
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}({self._place!r})"

    def limiter(self, name: str, deadline_s: float) -> SharedLimiter:
        """The gate that is shared under a name: the same one for the same name."""
        digest = blake2b(f"{__version__} {name}".encode(), digest_size=16).hexdigest()
        key = f"{self._prefix}:quota:{digest}"
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = self._limiters[key] = SharedLimiter(key, self)
        self._timeout_s = min(self._timeout_s, deadline_s / 4)
        return limiter

    async def open(self, line: Line, clock: Callable[[], float]) -> None:
        """Begin to take part.

        Raises:
            ConfigError: it is open already, by another client.
        """
        if self._task is not None:
            raise ConfigError(
                "quota: this RedisQuota serves a client already; allowed: one for each client"
            )
        self.owner, self.line, self._clock = token_hex(6), line, clock
        self.server_clock = ServerClock(clock(), time.time())
        self._reach = Reach(
            repr(self),
            alone="pacing by itself meanwhile",
            together="all processes pace as one again",
        )
        self._news, self._came = asyncio.Event(), asyncio.Event()
        self._reading = anyio.CancelScope()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End, and give back what this process still holds."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            for limiter in self._active:
                limiter.leave(self._clock())
            with anyio.move_on_after(self._timeout_s):
                while any(limiter.is_behind for limiter in self._active):
                    self._came.clear()
                    await self._came.wait()
        finally:
            task.cancel()
            await until_done(task)
            for limiter in self._active:
                limiter.is_active = False
                limiter.go_apart(self._clock())
            self._active.clear()
            self.line = None

    def told(self, limiter: SharedLimiter) -> None:
        """A gate has something to tell."""
        self._telling.add(limiter)
        self._news.set()

    def needed(self, limiter: SharedLimiter) -> float:
        """A gate is to take part; seconds for which it may wait for that."""
        if self._task is None:
            return -inf
        limiter.is_active = True
        self._active.add(limiter)
        self._reading.cancel()
        return -inf if self._reach.is_up is False else self._timeout_s

    async def _run(self) -> None:
        """Take part as long as the server lets it, and try again where it does not."""
        back_off_s = _LEAST_BACK_OFF_S
        while True:
            began_s = self._clock()
            try:
                await self._take_part()
            except Exception as error:  # noqa: BLE001  nothing that the server does fails a call
                self._lose(error)
            if self._clock() - began_s > _MOST_BACK_OFF_S:
                back_off_s = _LEAST_BACK_OFF_S
            await asyncio.sleep(back_off_s * random.uniform(0.5, 1.0))  # noqa: S311  no secret
            back_off_s = min(2 * back_off_s, _MOST_BACK_OFF_S)

    async def _take_part(self) -> None:
        streams = Streams(self._url)
        try:
            await self._meet(streams)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read, streams)
                tasks.start_soon(self._write, streams)
        finally:
            await streams.close()

    async def _meet(self, streams: Streams) -> None:
        with anyio.fail_after(self._timeout_s):
            time_s = await streams.time_s()
        if abs(self.server_clock.told(time_s, self._clock())) > _CLOCK_JUMP_S:
            for limiter in self._limiters.values():
                limiter.replica = Replica()

    def _lose(self, error: BaseException) -> None:
        self._reach.lost(error)
        self._telling.clear()
        for limiter in tuple(self._active):
            limiter.go_apart(self._clock())
        self._came.set()  # nothing more does

    async def _read(self, streams: Streams) -> None:
        """Keep the replicas of all gates that take part in step with their streams."""
        while True:
            apart = [limiter for limiter in self._active if not limiter.is_joined]
            for limiter in apart[:_JOINS_AT_ONCE]:
                await self._join(streams, limiter)
            for limiter in self._active:
                limiter.renew(self._clock())
            self._let_idle_go()
            limiters = {limiter.key: limiter for limiter in self._active if limiter.is_joined}
            for key, rows in await self._next(streams, limiters):
                now_s, limiter = self._clock(), limiters[key]
                self.server_clock.came(stamp_s(rows[-1][0]), now_s)
                if not limiter.advance(_entries(rows), now_s):
                    limiter.go_apart(now_s)  # and joins anew
            self._came.set()

    async def _next(
        self, streams: Streams, limiters: Mapping[str, SharedLimiter]
    ) -> list[tuple[str, list[Row]]]:
        """What comes next in the streams; [] where nothing does, or a gate wants to join."""
        lasts = {key: limiter.replica.last for key, limiter in limiters.items()}
        block_s = _BLOCK_S if len(limiters) == len(self._active) else _GLANCE_S
        found: list[tuple[str, list[Row]]] = []
        with anyio.fail_after(block_s + self._timeout_s) as self._reading:
            if lasts:
                found = await streams.next(lasts, block_s)
            else:
                await anyio.sleep(block_s)
        return found

    async def _join(self, streams: Streams, limiter: SharedLimiter) -> None:
        """Bring a gate's replica to where the others' are, and have it take part."""
        log = await self._history(streams, limiter.key)
        if not log:
            with anyio.fail_after(self._timeout_s):
                await streams.begin(
                    limiter.key, FIRST_ID, written(self._first_entry(limiter, FIRST_ID))
                )
            log = await self._history(streams, limiter.key)
        elif not has_state(entry for _, entry in log):
            # It was emptied, and those who take part wrote on: they join anew.
            entry = self._first_entry(limiter, log[-1][0])
            with anyio.fail_after(self._timeout_s):
                await streams.write([Addition(limiter.key, written(entry), None)])
            log = await self._history(streams, limiter.key)
        state = latest_state(log)
        replica = read_replica(state.replica)
        since = [(entry_id, entry) for entry_id, entry in log if is_after(entry_id, state.at)]
        for number, (entry_id, entry) in enumerate(since):
            replica.read(entry_id, entry)
            if number % BATCH == 0:
                await asyncio.sleep(0)
        limiter.join(replica, self._clock())

    def _first_entry(self, limiter: SharedLimiter, at: str) -> Entry:
        """What a log without a state begins with: the one that this process's replica is in.

        Args:
            limiter: whose replica.
            at: id of the entry that it is to follow.
        """
        replica = limiter.replica
        replica.entries = 0
        replica.last = replica.checkpoint = replica.kept_from = at
        return Entry(self.owner, 0, [state_of(replica)])

    async def _history(self, streams: Streams, key: str) -> list[tuple[str, Entry]]:
        """All that a stream holds."""
        log: list[tuple[str, Entry]] = []
        while True:
            with anyio.fail_after(self._timeout_s):
                rows = await streams.after(key, log[-1][0] if log else None)
            if not rows:
                return log
            log += _entries(rows)

    async def _write(self, streams: Streams) -> None:
        """Write what the gates tell, and see it come back."""
        while True:
            await self._news.wait()
            self._news.clear()
            limiters = [limiter for limiter in self._telling if limiter.is_behind]
            self._telling.clear()
            with anyio.fail_after(self._timeout_s):
                ahead_s = await streams.write([_addition(limiter) for limiter in limiters])
                stopped = [key for key, s in ahead_s.items() if abs(s) > _CLOCK_JUMP_S]
                if stopped:
                    await streams.drop(stopped)
                    raise _ClockError
                while any(limiter.is_flying for limiter in limiters):
                    self._came.clear()
                    await self._came.wait()
            self._reach.found()

    def _let_idle_go(self) -> None:
        now_s = self._clock()
        for limiter in [limiter for limiter in self._active if limiter.is_idle(now_s, _IDLE_S)]:
            limiter.go_apart(now_s)
            limiter.is_active = False
            self._active.remove(limiter)


def _entries(rows: list[Row]) -> list[tuple[str, Entry]]:
    return [(entry_id, read_entry(data)) for entry_id, data in rows]


def _addition(limiter: SharedLimiter) -> Addition:
    """What a gate has to tell; where a state is among it, the log is cut off behind."""
    entry = limiter.take()
    kept_from = limiter.replica.kept_from if has_state([entry]) else None
    return Addition(limiter.key, written(entry), kept_from)
