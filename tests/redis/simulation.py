"""Simulated processes that share a log, and the server they send to, in simulated time."""

import math
from collections import deque
from dataclasses import dataclass, field
from math import inf

from spot_billing_async._core.pacing.abc import Limiter, WaitingCalls
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator.chaos.rate_limit import RateLimit, SlidingWindow
from spot_billing_async.redis.limiter import SharedLimiter
from spot_billing_async.redis.replica import (
    FIRST_ID,
    LogEntry,
    Replica,
    decode_entry,
    encode,
    is_after,
    latest_replica,
    snapshot_of,
)
from spot_billing_async.redis.server_clock import ServerClock

_TICK_S = 0.001


@dataclass
class Simulation:
    """A log, a server, and the time.

    Attributes:
        limit: quota of the server.
        now_s: time of the log's clock; the clocks of the processes are a thousand seconds behind.
        log: ids and encoded entries.
        rejections: number of requests that the server rejected.
    """

    limit: RateLimit
    now_s: float = 1_800_000_000.0
    log: list[tuple[str, bytes]] = field(default_factory=list)
    rejections: int = 0

    def __post_init__(self) -> None:
        self.window = SlidingWindow(self.limit)
        self.append(LogEntry("initial", 0, [snapshot_of(Replica())]))

    def append(self, entry: LogEntry) -> None:
        """Append an entry, stamped with the current time."""
        entry_id = f"{round(self.now_s * 1000)}-{len(self.log)}" if self.log else FIRST_ID
        self.log.append((entry_id, encode(entry)))

    def count_request(self) -> tuple[bool, Quota]:
        """Have the server count a request; return whether it is accepted, and the headers."""
        verdict = self.window.admit(self.now_s)
        self.rejections += not verdict.allowed
        reset_s = math.ceil(verdict.reset_s)
        return verdict.allowed, Quota(self.limit.requests, verdict.remaining, reset_s)


class Process:
    """A process with a limiter, waiting calls and requests in flight; each step is explicit."""

    def __init__(self, simulation: Simulation, owner: str) -> None:
        self.simulation, self.owner = simulation, owner
        self.waiting_calls: WaitingCalls | None = self
        self.server_clock = ServerClock(0.0, 1000.0)
        self.limiter = SharedLimiter("key", self)
        self.waiting = self.done = 0
        self.admitted: deque[Permit] = deque()
        self.in_flight: deque[tuple[Permit, bool, Quota]] = deque()
        self.is_dead = False
        self.position = 0
        self.attach()

    @property
    def now_s(self) -> float:
        """Time of the process's own clock."""
        return self.simulation.now_s - 1000.0

    def schedule_write(self, limiter: SharedLimiter) -> None:
        """Do nothing: events are written by `write`."""

    def activate(self, limiter: SharedLimiter) -> float:
        """Mark the limiter as active; it is attached from the start."""
        limiter.is_active = True
        return -inf

    def count_sendable(self, limiter: Limiter) -> int:  # noqa: ARG002  there is only one
        """Return the number of all waiting calls."""
        return self.waiting

    def recheck(self, limiter: Limiter) -> None:
        """Admit the calls that may start."""
        while self.waiting and limiter.wait_s(self.now_s) == 0:
            self.waiting -= 1
            self.admitted.append(limiter.start(self.now_s))

    def call(self) -> None:
        """Add a waiting call."""
        self.waiting += 1
        self.recheck(self.limiter)

    def write(self) -> None:
        """Write the limiter's new events to the log."""
        if self.limiter._unwritten:
            self.simulation.append(self.limiter.take_entry())

    def read(self) -> None:
        """Apply the log's new entries."""
        if self.limiter.is_attached and self.position < len(self.simulation.log):
            new = self.simulation.log[self.position :]
            self.position = len(self.simulation.log)
            log = [(entry_id, decode_entry(data)) for entry_id, data in new]
            assert self.limiter.advance(log, self.now_s)

    def attach(self) -> None:
        """Attach the limiter to the log, for the first time or again."""
        log = [(entry_id, decode_entry(data)) for entry_id, data in self.simulation.log]
        found = latest_replica(log, self.simulation.now_s)
        assert found is not None
        snapshot_id, replica = found
        for entry_id, entry in log:
            if is_after(entry_id, snapshot_id):
                replica.apply_logged(entry_id, entry)
        self.position = len(self.simulation.log)
        self.limiter.attach(replica, self.now_s)

    def detach(self) -> None:
        """Detach the limiter, as if the log were unavailable."""
        self.limiter.detach(self.now_s)

    def send(self) -> None:
        """Send an admitted request, which the server counts."""
        if self.admitted:
            self.in_flight.append((self.admitted.popleft(), *self.simulation.count_request()))

    def receive(self) -> None:
        """Receive the oldest response; the call of a rejected request waits again."""
        if not self.in_flight:
            return
        permit, is_allowed, quota = self.in_flight.popleft()
        if is_allowed:
            self.done += 1
            self.limiter.on_response(permit, self.now_s, quota)
        else:
            self.waiting += 1
            self.limiter.on_rejected(permit, self.now_s, quota, quota.reset_s)
        self.recheck(self.limiter)

    def step(self) -> None:
        """Do everything that can be done now, unless the process is dead."""
        if not self.is_dead:
            self.write()
            self.read()
            self.send()
            self.receive()
            self.recheck(self.limiter)


def finish(simulation: Simulation, processes: list[Process], within_s: float) -> None:
    """Run all live processes until no call is left; time passes only if nothing else can happen.

    A process that held a permit and did nothing for the duration of its lease would count as dead.
    """
    ends_s = simulation.now_s + within_s
    alive = [process for process in processes if not process.is_dead]
    while any(p.waiting or p.admitted or p.in_flight or p.limiter.has_pending for p in alive):
        assert simulation.now_s < ends_s, "a call waits for ever"
        for process in alive:
            process.step()
        if not any(p.admitted or p.in_flight or p.limiter.has_pending for p in alive):
            waits = [p.limiter.wait_s(p.now_s) for p in alive if p.waiting]
            finite = [wait_s for wait_s in waits if 0 < wait_s < inf]
            simulation.now_s += min(finite, default=0.0)
        simulation.now_s += _TICK_S
    for process in alive:
        process.read()
