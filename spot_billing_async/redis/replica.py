"""One limiter for several processes: a replica in each, and a log that all of them read.

Theory. A `RouteLimiter` decides only by events and their times. Processes that apply the same
events in the same order, at times stamped by one clock, therefore have the same limiter: each its
own *replica*. No process decides for others. Each decision is an event in the log, and its place
there settles conflicts. A process that wants to send appends a request for permits. When it reads
that event back, every replica grants the permits that the limiter has at that moment to that
process. Responses, rejections and lost requests are logged in the same way.

A replica may query its limiter only at the stamps of events: a query changes what the limiter
counts as expired, and a process's own clock runs ahead of the log.

*Leases.* A process logs the end of each request it was granted, and renews its lease every few
seconds until then. A process whose lease ends has died, and its permits are dropped. Stamps decide
that, so all replicas agree.

*Snapshots.* The log is trimmed. Every few thousand entries, the process that wrote the last of them
logs a snapshot of its replica, and processes that join start at the latest snapshot. As replicas
do not differ, anyone's snapshot will do. A replica that reads a snapshot of an entry it does not
know has missed entries, and starts anew at a snapshot.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from types import GenericAlias
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S, RouteLimiter
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota

SNAPSHOT_EVERY = 2000
"""Entries from one snapshot to the next."""

LEASE_S = 10.0
"""Seconds without an entry after which a process loses its permits."""

RENEW_S = 3.0
"""Seconds without an entry after which a process with permits renews its lease."""

FIRST_ID = "0-1"
"""Id of a log's first entry, a snapshot: no other entry can precede it or reuse the id."""

EntryId = Annotated[str, Meta(pattern=r"^\d{1,18}-\d{1,18}$")]

_MOST_PERMITS = 100_000  # in one event
_MOST_WAITS = 10_000  # one after the other, until a limiter opens

# The tags are part of the log's format and independent of the class names.


class PermitsRequested(msgspec.Struct, array_like=True, tag="asked"):
    """Request for permits, of which as many are granted as the limiter has.

    Attributes:
        first: the process's own number of the first request.
        count: number of requests.
    """

    first: int
    count: Annotated[int, Meta(ge=1, le=_MOST_PERMITS)]


class ResponseReceived(msgspec.Struct, array_like=True, tag="answered"):
    """Response other than a rate-limit rejection."""

    number: int
    quota: Quota


class RequestRejected(msgspec.Struct, array_like=True, tag="refused"):
    """Rejection by the server's rate limit."""

    number: int
    quota: Quota
    retry_after_s: Annotated[float, Meta(ge=0, le=LONGEST_WAIT_S)] | None


class RequestLost(msgspec.Struct, array_like=True, tag="dropped"):
    """Request without a response; `sent` if the server may have counted it."""

    number: int
    sent: bool


class PermitsHeld(msgspec.Struct, array_like=True, tag="joined"):
    """Complete list of the permits a process holds, which overrides the log; [] when it leaves."""

    numbers: Annotated[list[int], Meta(max_length=_MOST_PERMITS)]


class LeaseRenewed(msgspec.Struct, array_like=True, tag="renewed"):
    """Sign of life of a process."""


class Snapshot(msgspec.Struct, array_like=True, tag="state"):
    """Encoded replica after the entry `entry_id`."""

    entry_id: EntryId
    replica: msgspec.Raw


LogEvent = (
    PermitsRequested
    | ResponseReceived
    | RequestRejected
    | RequestLost
    | PermitsHeld
    | LeaseRenewed
    | Snapshot
)


class LogEntry(msgspec.Struct, array_like=True):
    """Events that a process appends together; the log gives them one stamp.

    Attributes:
        owner: random name of the process.
        serial: the process's own number of the entry.
        events: events in order.
    """

    owner: str
    serial: int
    events: list[LogEvent]


class Lease(msgspec.Struct, array_like=True):
    """Permits of a process by its own numbers; they are dropped at `until_s` unless renewed."""

    until_s: float
    permits: dict[int, Permit] = {}


class Replica(msgspec.Struct, array_like=True):
    """Limiter state that is equal in all processes that have read the same log.

    Attributes:
        limiter: limiter; query it only at stamps of entries.
        leases: leases by process; a process without permits has none.
        entries: number of entries read from the log.
        last_id: id of the last of them.
        checkpoint: id of the last of them that a snapshot was taken of.
        kept_from: the checkpoint before that; older entries are trimmed.
        applied_s: time of the last applied entry.
        opens_at_s: time, by the log's clock, to request permits again; inf until an event.
        lease_ends_s: lower bound of the end of all leases.
    """

    limiter: RouteLimiter = msgspec.field(default_factory=RouteLimiter)
    leases: dict[str, Lease] = {}
    entries: int = 0
    last_id: EntryId = FIRST_ID
    checkpoint: EntryId = FIRST_ID
    kept_from: EntryId = FIRST_ID
    applied_s: float = -inf
    opens_at_s: float = -inf
    lease_ends_s: float = inf

    def apply_logged(self, entry_id: str, entry: LogEntry) -> list[int]:
        """Apply an entry of the log and return the numbers of the permits granted to its owner."""
        self.entries += 1
        self.last_id = entry_id
        if self.entries % SNAPSHOT_EVERY == 0:
            self.kept_from, self.checkpoint = self.checkpoint, entry_id
        return self.apply(stamp_s(entry_id), entry)

    def apply(self, at_s: float, entry: LogEntry) -> list[int]:
        """Apply an entry at a time and return the numbers of the permits granted to its owner."""
        now_s = self.applied_s = max(at_s, self.applied_s)
        if entry.owner in self.leases:
            self.leases[entry.owner].until_s = now_s + LEASE_S
        if now_s >= self.lease_ends_s:
            for owner in [name for name, lease in self.leases.items() if lease.until_s <= now_s]:
                self._lose_all(owner, now_s)
            self.lease_ends_s = min((lease.until_s for lease in self.leases.values()), default=inf)
        granted: list[int] = []
        for event in entry.events:
            granted += self._apply_event(now_s, event, entry.owner)
        self.update_opening(now_s)
        return granted

    def forget_others(self, owner: str, at_s: float) -> None:
        """Drop the permits of all other processes, whose events are not read from now on."""
        now_s = self.applied_s = max(at_s, self.applied_s)
        for other in [name for name in self.leases if name != owner]:
            self._lose_all(other, now_s)
        self.update_opening(now_s)

    def update_opening(self, now_s: float) -> None:
        """Set the time at which permits are to be requested again."""
        wait_s = self.limiter.wait_s(now_s)
        # A process that died logs nothing: its lease ends when another one requests permits.
        self.opens_at_s = min(now_s + wait_s, self.lease_ends_s) if wait_s else now_s

    def _apply_event(self, now_s: float, event: LogEvent, owner: str) -> list[int]:
        limiter = self.limiter
        match event:
            case PermitsRequested(first=first, count=count):
                return self._grant(now_s, owner, range(first, first + count))
            case ResponseReceived(number=number, quota=quota):
                if (permit := self._pop_permit(owner, number)) is not None:
                    limiter.on_response(permit, now_s, quota)
            case RequestRejected(number=number, quota=quota, retry_after_s=retry_after_s):
                if (permit := self._pop_permit(owner, number)) is not None:
                    limiter.on_rejected(permit, now_s, quota, retry_after_s)
            case RequestLost(number=number, sent=sent):
                self._lose(owner, number, now_s, sent=sent)
            case PermitsHeld(numbers=numbers):
                self._set_held(now_s, owner, numbers)
        return []

    def _set_held(self, now_s: float, owner: str, numbers: list[int]) -> None:
        """Drop and add permits, so that a process holds exactly these."""
        held = self._held_numbers(owner)
        for number in sorted(held - set(numbers)):
            self._lose(owner, number, now_s, sent=True)
        for number in numbers:
            if number not in held:
                self._start(now_s, owner, number)

    def _grant(self, now_s: float, owner: str, numbers: range) -> list[int]:
        granted: list[int] = []
        held = self._held_numbers(owner)
        for number in numbers:
            if number in held:
                continue  # requested twice: first considered lost, then granted without the log
            if self.limiter.wait_s(now_s) > 0:
                break
            self._start(now_s, owner, number)
            granted.append(number)
        return granted

    def _start(self, now_s: float, owner: str, number: int) -> None:
        until_s = now_s + LEASE_S
        lease = self.leases.setdefault(owner, Lease(until_s))
        lease.permits[number] = self.limiter.start(now_s)
        self.lease_ends_s = min(self.lease_ends_s, until_s)

    def _held_numbers(self, owner: str) -> set[int]:
        return set(self.leases[owner].permits) if owner in self.leases else set()

    def _pop_permit(self, owner: str, number: int) -> Permit | None:
        """Remove and return the permit of an ended request; None if it was dropped before."""
        if owner not in self.leases:
            return None
        permits = self.leases[owner].permits
        permit = permits.pop(number, None)
        if not permits:
            del self.leases[owner]
        return permit

    def _lose(self, owner: str, number: int, now_s: float, *, sent: bool) -> None:
        permit = self._pop_permit(owner, number)
        if permit is not None:
            self.limiter.on_lost(permit, now_s, sent=sent)

    def _lose_all(self, owner: str, now_s: float) -> None:
        for number in sorted(self._held_numbers(owner)):
            self._lose(owner, number, now_s, sent=True)


def stamp_s(entry_id: str) -> float:
    """Return the time of an entry in seconds; its id begins with the log's clock in ms."""
    return int(entry_id.partition("-")[0]) / 1000


def snapshot_of(replica: Replica) -> Snapshot:
    """Return a snapshot event of a replica."""
    return Snapshot(replica.last_id, msgspec.Raw(encode(replica)))


def latest_replica(log: Sequence[tuple[str, LogEntry]], at_s: float) -> tuple[str, Replica] | None:
    """Return the replica of the latest valid snapshot, and the id of the entry before it."""
    for _, entry in reversed(log):
        for event in entry.events:
            if isinstance(event, Snapshot):
                replica = decode_replica(event.replica, at_s)
                if replica is not None:
                    return event.entry_id, replica
    return None


def has_snapshot(entries: Iterable[LogEntry]) -> bool:
    """Return True if some entry has a snapshot."""
    return any(isinstance(event, Snapshot) for entry in entries for event in entry.events)


def is_after(entry_id: str, other_id: str) -> bool:
    """Return True if an entry stands after another one in the log."""
    return _position(entry_id) > _position(other_id)


def _position(entry_id: str) -> tuple[int, int]:
    clock, _, number = entry_id.partition("-")
    return int(clock), int(number)


def _to_list(value: object) -> list[Any]:
    assert isinstance(value, deque)  # noqa: S101  the only type in a replica unknown to msgspec
    return list(value)


def _from_list(kind: Any, value: object) -> deque[Any]:  # noqa: ANN401  msgspec's own signature
    (item,) = get_args(kind)
    return deque(msgspec.convert(value, type=GenericAlias(list, item)))


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_list)
_entry_decoder = msgspec.msgpack.Decoder(LogEntry)
_replica_decoder = msgspec.msgpack.Decoder(Replica, dec_hook=_from_list)


def encode(value: LogEntry | Replica) -> bytes:
    """Encode an entry, or the whole state of a replica."""
    return _encoder.encode(value)


def decode_entry(data: bytes) -> LogEntry:
    """Decode an entry; invalid data gives an entry without events, equally for all readers."""
    try:
        return _entry_decoder.decode(data)
    except msgspec.MsgspecError:
        return LogEntry("", 0, [])


def decode_replica(data: bytes | msgspec.Raw, at_s: float) -> Replica | None:
    """Decode a replica at a time; None if it is invalid, or would not open within an hour.

    It is tried out, as any of its values could make a process wait for ever.
    """
    try:
        replica, trial = _replica_decoder.decode(data), _replica_decoder.decode(data)
        ends_s = [lease.until_s for lease in replica.leases.values()]
        applied_s, now_s = replica.applied_s, at_s + LEASE_S
        if not (applied_s <= now_s and all(end_s <= applied_s + LEASE_S for end_s in ends_s)):
            return None
        if not replica.lease_ends_s <= min(ends_s, default=inf):
            return None
        replica.opens_at_s = applied_s
        if applied_s > -inf:
            replica.update_opening(applied_s)
        trial.forget_others("", now_s)  # what is in flight is over by then
        for _ in range(_MOST_WAITS):
            wait_s = trial.limiter.wait_s(now_s)
            if not wait_s:
                return replica
            now_s += wait_s
            if not now_s <= at_s + 2 * LEASE_S + LONGEST_WAIT_S:
                return None
    except Exception:  # noqa: BLE001  values that no limiter has may raise anything
        return None
    return None
