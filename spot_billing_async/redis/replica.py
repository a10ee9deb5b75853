"""One quota for several processes: a gate that each of them has, and a log that they all read.

The theory. A `RouteLimiter` decides by its events and their times alone. So processes that
apply the same events in the same order, at the times that one clock stamped on them, have the same
gate: each its own *replica*. Nobody decides for others; what is in doubt is put into the log and
decided by its place there. A process that wants to send *asks*, and when its question comes back,
every replica grants as many places as the gate has at that moment, to that process. Answers,
refusals and what came to nothing are told in the same way.

A replica may look at its gate at the stamps of events alone: to look changes what the gate counts
as gone, and the clock of a process runs ahead of the log.

*Leases.* What a process was granted it ends by telling so, and it is heard of every few seconds
until then. If it is not, it died, and its places are given up; that is decided by stamps, so by all
replicas alike.

*States.* The log is cut off behind. So every few thousand entries whoever wrote the last of them
writes down what its replica is there; who comes later starts at the last such state. Since replicas
do not differ, anybody's is everybody's. A replica that meets a state of an entry that it does not
know of has missed some, and starts anew there.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from types import GenericAlias
from typing import Any, get_args

import msgspec

from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota

STATE_EVERY = 2000
"""Entries from one state to the next."""

LEASE_S = 10.0
"""After which a process that was not heard of holds nothing any more."""

RENEW_S = 3.0
"""After which a process that holds something lets itself be heard of."""

FIRST_ID = "0-1"
"""Of the state that a log begins with: no other entry can come before it, or have this id again."""


class Asked(msgspec.Struct, array_like=True, tag="asked"):
    """A process wants to send requests; those from `first` on are granted as far as there is room.

    Attributes:
        first: the process's own number of the first of them.
        count: how many.
    """

    first: int
    count: int


class Answered(msgspec.Struct, array_like=True, tag="answered"):
    """An answer came, and was no refusal."""

    number: int
    quota: Quota


class Refused(msgspec.Struct, array_like=True, tag="refused"):
    """The server refused the request for its rate."""

    number: int
    quota: Quota
    retry_after_s: float | None


class Dropped(msgspec.Struct, array_like=True, tag="dropped"):
    """No answer came; `sent` where the server may have counted the request all the same."""

    number: int
    sent: bool


class Joined(msgspec.Struct, array_like=True, tag="joined"):
    """A process has exactly these requests under way, whatever the log says; [] as it leaves."""

    numbers: list[int]


class Renewed(msgspec.Struct, array_like=True, tag="renewed"):
    """The process is alive."""


class State(msgspec.Struct, array_like=True, tag="state"):
    """What every replica is after the entry `at`."""

    at: str
    replica: msgspec.Raw


Event = Asked | Answered | Refused | Dropped | Joined | Renewed | State


class Entry(msgspec.Struct, array_like=True):
    """Events that a process tells at once; the log stamps them all alike.

    Attributes:
        owner: a random name of the process.
        serial: the process's own number of it.
        events: in their order.
    """

    owner: str
    serial: int
    events: list[Event]


class Holder(msgspec.Struct, array_like=True):
    """What a process was granted and has not told the end of; it is its own until `until_s`."""

    until_s: float
    permits: dict[int, Permit] = {}


class Replica(msgspec.Struct, array_like=True):
    """A gate that is the same wherever the same log was read.

    Attributes:
        gate: pass it stamps of entries alone.
        held: the places of each process, by its own numbers; none holds nothing.
        entries: how many were read from the log.
        last: id of the last of them.
        checkpoint: id of the last of them of which a state is written down.
        kept_from: the checkpoint before that; what is older is cut off.
        stamp_s: when an entry was last applied.
        opens_at_s: when, on the log's clock, it is to be asked again; inf where something has to
            happen first.
        lease_ends_s: no lease ends before.
    """

    limiter: RouteLimiter = msgspec.field(default_factory=RouteLimiter)
    held: dict[str, Holder] = {}
    entries: int = 0
    last: str = FIRST_ID
    checkpoint: str = FIRST_ID
    kept_from: str = FIRST_ID
    stamp_s: float = -inf
    opens_at_s: float = -inf
    lease_ends_s: float = inf

    def read(self, entry_id: str, entry: Entry) -> list[int]:
        """Apply an entry of the log; the numbers that it is granted."""
        self.entries += 1
        self.last = entry_id
        if self.entries % STATE_EVERY == 0:
            self.kept_from, self.checkpoint = self.checkpoint, entry_id
        return self.apply(stamp_s(entry_id), entry)

    def apply(self, at_s: float, entry: Entry) -> list[int]:
        """Apply an entry at a time; the numbers that it is granted."""
        now_s = self.stamp_s = max(at_s, self.stamp_s)
        if entry.owner in self.held:
            self.held[entry.owner].until_s = now_s + LEASE_S
        if now_s >= self.lease_ends_s:
            self._end_leases(now_s)
        granted = [number for event in entry.events for number in self._apply(now_s, event, entry)]
        self._look(now_s)
        return granted

    def forget_others(self, owner: str, at_s: float) -> None:
        """Give up what all others hold: nothing more is going to be heard of them."""
        now_s = self.stamp_s = max(at_s, self.stamp_s)
        for other in [name for name in self.held if name != owner]:
            self._drop_all(other, now_s)
        self._look(now_s)

    def _look(self, now_s: float) -> None:
        wait_s = self.limiter.wait_s(now_s)
        # Of one that died nobody tells anything: its lease ends as the next one asks.
        self.opens_at_s = min(now_s + wait_s, self.lease_ends_s) if wait_s else now_s

    def _apply(self, now_s: float, event: Event, entry: Entry) -> list[int]:
        owner, limiter = entry.owner, self.limiter
        match event:
            case Asked(first=first, count=count):
                return self._grant(now_s, entry, range(first, first + count))
            case Answered(number=number, quota=quota):
                if (permit := self._take(owner, number)) is not None:
                    limiter.on_response(permit, now_s, quota)
            case Refused(number=number, quota=quota, retry_after_s=retry_after_s):
                if (permit := self._take(owner, number)) is not None:
                    limiter.on_rejected(permit, now_s, quota, retry_after_s)
            case Dropped(number=number, sent=sent):
                self._drop(owner, number, now_s, sent=sent)
            case Joined(numbers=numbers):
                self._set(now_s, entry, numbers)
        return []

    def _set(self, now_s: float, entry: Entry, numbers: list[int]) -> None:
        """Have a process hold exactly these."""
        held = self._numbers(entry.owner)
        for number in sorted(held - set(numbers)):
            self._drop(entry.owner, number, now_s, sent=True)
        for number in numbers:
            if number not in held:
                self._start(now_s, entry, number)

    def _grant(self, now_s: float, entry: Entry, numbers: range) -> list[int]:
        granted: list[int] = []
        held = self._numbers(entry.owner)
        for number in numbers:
            if number in held:
                continue  # asked for twice: it was given up for lost, and decided without the log
            if self.limiter.wait_s(now_s) > 0:
                break
            self._start(now_s, entry, number)
            granted.append(number)
        return granted

    def _start(self, now_s: float, entry: Entry, number: int) -> None:
        until_s = now_s + LEASE_S
        holder = self.held.setdefault(entry.owner, Holder(until_s))
        holder.permits[number] = self.limiter.start(now_s)
        self.lease_ends_s = min(self.lease_ends_s, until_s)

    def _numbers(self, owner: str) -> set[int]:
        return set(self.held[owner].permits) if owner in self.held else set()

    def _take(self, owner: str, number: int) -> Permit | None:
        """The ticket of what has ended; None where it was given up before."""
        if owner not in self.held:
            return None
        permits = self.held[owner].permits
        permit = permits.pop(number, None)
        if not permits:
            del self.held[owner]
        return permit

    def _drop(self, owner: str, number: int, now_s: float, *, sent: bool) -> None:
        permit = self._take(owner, number)
        if permit is not None:
            self.limiter.on_lost(permit, now_s, sent=sent)

    def _drop_all(self, owner: str, now_s: float) -> None:
        for number in sorted(self._numbers(owner)):
            self._drop(owner, number, now_s, sent=True)

    def _end_leases(self, now_s: float) -> None:
        for owner in [name for name, holder in self.held.items() if holder.until_s <= now_s]:
            self._drop_all(owner, now_s)
        self.lease_ends_s = min((holder.until_s for holder in self.held.values()), default=inf)


def stamp_s(entry_id: str) -> float:
    """When an entry was written, in seconds: its id begins with the log's clock in milliseconds."""
    return int(entry_id.partition("-")[0]) / 1000


def state_of(replica: Replica) -> State:
    """What a replica is, as an event."""
    return State(replica.last, msgspec.Raw(written(replica)))


def latest_state(log: Sequence[tuple[str, Entry]]) -> State:
    """The state that a replica which begins now begins with.

    Raises:
        LookupError: there is none.
    """
    events = (event for _, entry in reversed(log) for event in entry.events)
    try:
        return next(event for event in events if isinstance(event, State))
    except StopIteration:
        raise LookupError("the log has no state") from None


def has_state(entries: Iterable[Entry]) -> bool:
    """Whether a replica can begin with some of a log's entries."""
    return any(isinstance(event, State) for entry in entries for event in entry.events)


def is_after(entry_id: str, other_id: str) -> bool:
    """Whether an entry stands after another one."""
    return _place(entry_id) > _place(other_id)


def _place(entry_id: str) -> tuple[int, int]:
    clock, _, number = entry_id.partition("-")
    return int(clock), int(number)


def _to_list(value: object) -> list[Any]:
    assert isinstance(value, deque)  # noqa: S101  nothing else in a state is unknown to msgspec
    return list(value)


def _from_list(kind: Any, value: object) -> deque[Any]:  # noqa: ANN401  msgspec's own signature
    (item,) = get_args(kind)
    return deque(msgspec.convert(value, type=GenericAlias(list, item)))


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_list)
_entries = msgspec.msgpack.Decoder(Entry)
_replicas = msgspec.msgpack.Decoder(Replica, dec_hook=_from_list)


def written(value: Entry | Replica) -> bytes:
    """An entry, or all that a replica is, as bytes."""
    return _encoder.encode(value)


def read_entry(data: bytes) -> Entry:
    """An entry from its bytes; what is none comes to nothing, for all who read it alike."""
    try:
        return _entries.decode(data)
    except msgspec.MsgspecError:
        return Entry("", 0, [])


def read_replica(data: bytes | msgspec.Raw) -> Replica:
    """A replica from its bytes.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _replicas.decode(data)
