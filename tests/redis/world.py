"""Processes that share a log, and the server that they ask, in time that passes only in thought."""

import math
from collections import deque
from dataclasses import dataclass, field
from math import inf

from spot_billing_async._core.pacing.abc import Limiter, Line
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator.chaos.rate_limit import RateLimit, SlidingWindow
from spot_billing_async.redis.limiter import SharedLimiter
from spot_billing_async.redis.replica import (
    FIRST_ID,
    Entry,
    Replica,
    is_after,
    latest_state,
    read_entry,
    read_replica,
    state_of,
    written,
)
from spot_billing_async.redis.server_clock import ServerClock

_TICK_S = 0.001


@dataclass
class World:
    """A log, a server, and the time.

    Attributes:
        limit: the server's quota.
        now_s: of the log's clock; that of the processes is a thousand seconds behind.
        log: ids and bytes, as they were written.
        refusals: of the server.
    """

    limit: RateLimit
    now_s: float = 1_800_000_000.0
    log: list[tuple[str, bytes]] = field(default_factory=list)
    refusals: int = 0

    def __post_init__(self) -> None:
        self.window = SlidingWindow(self.limit)
        self.write(Entry("nobody", 0, [state_of(Replica())]))

    def write(self, entry: Entry) -> None:
        """Append an entry, stamped now."""
        entry_id = f"{round(self.now_s * 1000)}-{len(self.log)}" if self.log else FIRST_ID
        self.log.append((entry_id, written(entry)))

    def ask(self) -> tuple[bool, Quota]:
        """Have the server count a request: whether it passes, and the headers."""
        verdict = self.window.admit(self.now_s)
        self.refusals += not verdict.allowed
        reset_s = math.ceil(verdict.reset_s)
        return verdict.allowed, Quota(self.limit.requests, verdict.remaining, reset_s)


class Process:
    """One of the processes: calls that wait, requests under way, and a gate. It is all by hand."""

    def __init__(self, world: World, owner: str) -> None:
        self.world, self.owner = world, owner
        self.line: Line | None = self
        self.server_clock = ServerClock(0.0, 1000.0)
        self.limiter = SharedLimiter("key", self)
        self.wanted = self.done = 0
        self.admitted: deque[Permit] = deque()
        self.under_way: deque[tuple[Permit, bool, Quota]] = deque()
        self.is_dead = False
        self.read_to = 0
        self.join()

    @property
    def now_s(self) -> float:
        """The process's own clock."""
        return self.world.now_s - 1000.0

    def told(self, limiter: SharedLimiter) -> None:
        """Nothing is written before `write`."""

    def needed(self, limiter: SharedLimiter) -> float:
        """It takes part from the beginning."""
        limiter.is_active = True
        return -inf

    def waiting(self, limiter: Limiter) -> int:  # noqa: ARG002  there is one
        """All that wait could go."""
        return self.wanted

    def changed(self, limiter: Limiter) -> None:
        """Let those go who may."""
        while self.wanted and limiter.wait_s(self.now_s) == 0:
            self.wanted -= 1
            self.admitted.append(limiter.start(self.now_s))

    def want(self) -> None:
        """A call comes."""
        self.wanted += 1
        self.changed(self.limiter)

    def write(self) -> None:
        """Write what the gate has told."""
        if self.limiter._untold:
            self.world.write(self.limiter.take())

    def read(self) -> None:
        """Read on in the log."""
        if self.limiter.is_joined and self.read_to < len(self.world.log):
            new = self.world.log[self.read_to :]
            self.read_to = len(self.world.log)
            log = [(entry_id, read_entry(data)) for entry_id, data in new]
            assert self.limiter.advance(log, self.now_s)

    def join(self) -> None:
        """Take part, or do so again."""
        log = [(entry_id, read_entry(data)) for entry_id, data in self.world.log]
        state = latest_state(log)
        replica = read_replica(state.replica)
        for entry_id, entry in log:
            if is_after(entry_id, state.at):
                replica.read(entry_id, entry)
        self.read_to = len(self.world.log)
        self.limiter.join(replica, self.now_s)

    def go_apart(self) -> None:
        """The log is not to be had."""
        self.limiter.go_apart(self.now_s)

    def send(self) -> None:
        """The server counts a request that was admitted."""
        if self.admitted:
            self.under_way.append((self.admitted.popleft(), *self.world.ask()))

    def hear(self) -> None:
        """The answer of a request comes; one that was refused is wanted again."""
        if not self.under_way:
            return
        permit, is_allowed, quota = self.under_way.popleft()
        if is_allowed:
            self.done += 1
            self.limiter.on_response(permit, self.now_s, quota)
        else:
            self.wanted += 1
            self.limiter.on_rejected(permit, self.now_s, quota, quota.reset_s)
        self.changed(self.limiter)

    def go_on(self) -> None:
        """Whatever is to be done now, unless it is dead."""
        if not self.is_dead:
            self.write()
            self.read()
            self.send()
            self.hear()
            self.changed(self.limiter)


def finish(world: World, processes: list[Process], within_s: float) -> None:
    """Have all that live do what they want; time passes where nothing else is to be done.

    Who holds a place and does nothing for longer than its lease would count as dead.
    """
    ends_s = world.now_s + within_s
    alive = [process for process in processes if not process.is_dead]
    while any(p.wanted or p.admitted or p.under_way or p.limiter.is_behind for p in alive):
        assert world.now_s < ends_s, "somebody waits for ever"
        for process in alive:
            process.go_on()
        if not any(p.admitted or p.under_way or p.limiter.is_behind for p in alive):
            waits = [p.limiter.wait_s(p.now_s) for p in alive if p.wanted]
            finite = [wait_s for wait_s in waits if 0 < wait_s < inf]
            world.now_s += min(finite, default=0.0)
        world.now_s += _TICK_S
    for process in alive:
        process.read()
