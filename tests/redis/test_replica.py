"""Replicas of one limiter: all processes that read the same log decide the same."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator import RateLimit
from spot_billing_async.redis.replica import (
    LEASE_S,
    SNAPSHOT_EVERY,
    LogEntry,
    LogEvent,
    PermitsHeld,
    PermitsRequested,
    Replica,
    RequestLost,
    RequestRejected,
    ResponseReceived,
    Snapshot,
    decode_entry,
    decode_replica,
    encode,
    is_after,
    latest_replica,
    snapshot_of,
)
from tests.redis.simulation import Process, Simulation, finish

QUOTAS = st.builds(
    Quota,
    st.none() | st.integers(1, 20),
    st.none() | st.integers(0, 20),
    st.none() | st.floats(0, 60),
)
NUMBERS = st.integers(1, 30)
EVENTS: st.SearchStrategy[LogEvent] = st.one_of(
    st.builds(PermitsRequested, NUMBERS, st.integers(1, 5)),
    st.builds(ResponseReceived, NUMBERS, QUOTAS),
    st.builds(RequestRejected, NUMBERS, QUOTAS, st.none() | st.floats(0, 60)),
    st.builds(RequestLost, NUMBERS, st.booleans()),
    st.builds(PermitsHeld, st.lists(NUMBERS, max_size=3, unique=True)),
)
ENTRIES = st.builds(
    LogEntry,
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 9),
    st.lists(EVENTS, max_size=4),
)


@given(st.lists(st.tuples(st.integers(0, 5000), ENTRIES), max_size=40), st.integers(0, 40))
def test_a_replica_from_a_snapshot_equals_one_from_the_whole_log(
    log: list[tuple[int, LogEntry]], joins_at: int
) -> None:
    """A replica that was encoded and decoded continues unchanged with any log."""
    first, second = Replica(), Replica()
    clock_ms = 1_800_000_000_000
    for number, (pause_ms, entry) in enumerate(log):
        clock_ms += pause_ms
        decoded = decode_entry(encode(entry))
        if number == joins_at:
            decoded_replica = decode_replica(encode(first), clock_ms / 1000)
            assert decoded_replica is not None
            second = decoded_replica
        granted = first.apply_logged(f"{clock_ms}-{number}", decoded)
        if number >= joins_at:
            assert second.apply_logged(f"{clock_ms}-{number}", decoded) == granted
    if len(log) > joins_at:
        assert encode(first) == encode(second)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["call", "call", "call", "write", "read", "send", "receive", "wait"]),
    ),
    max_size=150,
)
CALLS_AT_ONCE = 6


def run_step(simulation: Simulation, process: Process, step: str) -> None:
    if step == "wait":
        simulation.now_s += 0.05
    for _ in range(CALLS_AT_ONCE if step == "call" else 1):
        if step != "wait":
            getattr(process, step)()


@given(st.integers(FIRST_REQUESTS, 25), STEPS)
def test_no_more_permits_are_granted_than_the_window_allows(
    limit: int, steps: list[tuple[int, str]]
) -> None:
    """Three processes write, read, send and receive in any order, and no request is rejected."""
    simulation = Simulation(RateLimit(limit, 60.0))
    processes = [Process(simulation, name) for name in "abc"]
    for index, step in steps:
        run_step(simulation, processes[index], step)
    assert sum(len(p.admitted) + len(p.in_flight) for p in processes) <= limit
    finish(simulation, processes, within_s=60.0 * (CALLS_AT_ONCE * len(steps) / limit + 3))
    assert simulation.rejections == 0


@given(st.integers(FIRST_REQUESTS, 25), STEPS)
def test_permits_of_a_dead_process_return(limit: int, steps: list[tuple[int, str]]) -> None:
    """After the lease of a dead process the others complete all calls, and no lease remains."""
    simulation = Simulation(RateLimit(limit, 2.0))
    processes = [Process(simulation, name) for name in "abc"]
    for index, step in steps:
        run_step(simulation, processes[index], step)
    processes[0].is_dead = True
    for process in processes[1:]:
        process.call()
    finish(simulation, processes, within_s=100.0)
    simulation.now_s += 2 * LEASE_S
    for process in processes[1:]:
        process.call()
    finish(simulation, processes, within_s=100.0)
    first, second = (process.limiter.replica for process in processes[1:])
    assert first.leases == second.leases == {}


@given(STEPS, st.lists(st.integers(0, 2), max_size=4), STEPS)
def test_a_detached_process_returns_with_its_requests_in_flight(
    before: list[tuple[int, str]], detached: list[int], after: list[tuple[int, str]]
) -> None:
    """A detached process paces itself; once attached, all replicas agree and all calls end."""
    simulation = Simulation(RateLimit(20, 2.0))
    processes = [Process(simulation, name) for name in "abc"]
    for index, step in before:
        run_step(simulation, processes[index], step)
    for index in detached:
        processes[index].detach()
    for index, step in after:
        run_step(simulation, processes[index], step)
    for index in set(detached):
        processes[index].attach()
    finish(simulation, processes, within_s=300.0)
    assert len({encode(process.limiter.replica) for process in processes}) == 1
    assert processes[0].limiter.replica.leases == {}


def test_a_long_log_is_read_from_its_latest_snapshot() -> None:
    """A reader needs a log's latest snapshot only, and no entry before it."""
    simulation = Simulation(RateLimit(20, 2.0))
    early = Process(simulation, "early")
    while early.limiter.replica.entries < 2 * SNAPSHOT_EVERY + 100:
        if early.waiting + len(early.admitted) + len(early.in_flight) == 0:
            early.call()
        early.step()
        simulation.now_s += 0.01
    log = [(entry_id, decode_entry(data)) for entry_id, data in simulation.log]
    found = latest_replica(log, simulation.now_s)
    assert found is not None
    kept_from = early.limiter.replica.kept_from
    assert early.limiter.replica.checkpoint == found[0]
    assert is_after(found[0], kept_from)
    simulation.log = [row for row in simulation.log if not is_after(kept_from, row[0])]
    late = Process(simulation, "late")
    early.read()
    assert encode(late.limiter.replica) == encode(early.limiter.replica)


def test_a_replica_detects_missing_entries() -> None:
    """A replica detects them at the next snapshot, which is of an entry it does not know."""
    simulation = Simulation(RateLimit(20, 2.0))
    process = Process(simulation, "slow")
    other = Replica()
    other.apply_logged("1800000000000-9", LogEntry("fast", 1, []))
    entry = LogEntry("fast", 2, [snapshot_of(other)])
    assert not process.limiter.advance([("1800000000001-0", entry)], process.now_s)


def test_an_invalid_entry_has_no_events() -> None:
    """An entry of other software has no events, equally for all readers."""
    assert decode_entry(b"\xc1 nonsense").events == []
    assert decode_entry(b"").events == []


AT_S = 1_800_000_000.0


@pytest.mark.parametrize(
    "event",
    [
        ["asked", 1, 10**9],
        ["asked", 1, 0],
        ["refused", 1, [None, None, None], 1e18],
        ["refused", 1, [None, None, None], math.nan],
        ["answered", 1, [10**12, 5, 0.0]],
        ["answered", 1, [10, -5, 0.0]],
        ["answered", 1, [10, 5, math.inf]],
        ["joined", [1] * 100_001],
        ["state", "$", {}],
    ],
)
def test_an_entry_out_of_range_has_no_events(event: list[object]) -> None:
    """Counts and waits of an entry have limits; beyond them it has no events for any reader."""
    data = msgspec.msgpack.encode(["somebody", 1, [event]])
    assert decode_entry(data).events == []


def busy_replica() -> Replica:
    """Return a replica with responses, a rejection, and a request in flight."""
    replica = Replica()
    replica.apply(AT_S - 3, LogEntry("a", 1, [PermitsRequested(1, 4)]))
    replica.apply(
        AT_S - 2,
        LogEntry("a", 2, [ResponseReceived(n, Quota(10, 10 - n, 0.0)) for n in (1, 2)]),
    )
    replica.apply(AT_S - 1, LogEntry("a", 3, [RequestRejected(3, Quota(10, 0, 5.0), 3600.0)]))
    return replica


def places_of(value: Any, path: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """Yield the paths of all numbers in nested lists and dicts."""
    if isinstance(value, int | float):
        yield path
    elif isinstance(value, list | dict):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places_of(value[key], (*path, key))


BUSY = msgspec.msgpack.decode(encode(busy_replica()), strict=False)
PLACES = list(places_of(BUSY))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PLACES),
            st.one_of(
                st.sampled_from([math.inf, -math.inf, math.nan, 1e18, -1e18, 10**12, -(10**12), 0]),
                st.floats(),
                st.integers(-(2**63), 2**63 - 1),
                st.booleans(),
            ),
        ),
        max_size=4,
    )
)
def test_any_replica_that_is_taken_opens_within_an_hour(
    changes: list[tuple[tuple[int | str, ...], float]],
) -> None:
    """Whatever values a snapshot has, it is refused, or requests may start after an hour."""
    data = copy.deepcopy(BUSY)
    for path, value in changes:
        target = data
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
    replica = decode_replica(msgspec.msgpack.encode(data), AT_S)
    if not changes:
        assert replica is not None
    if replica is None:
        return
    now_s, ends_s = AT_S, AT_S + 3600.0 + 3 * LEASE_S
    while True:  # as a process that asks again whenever the replica says so
        granted = replica.apply(now_s, LogEntry("b", 1, [PermitsRequested(1, 1)]))
        if granted:
            break
        assert replica.opens_at_s <= ends_s
        now_s = max(replica.opens_at_s, now_s + 0.001)
    assert now_s <= ends_s


def test_a_log_is_read_from_its_latest_valid_snapshot() -> None:
    """A snapshot that is invalid, or of a time to come, is ignored."""
    good, late = snapshot_of(busy_replica()), busy_replica()
    late.applied_s = AT_S + 1e6
    bad = Snapshot("3-0", msgspec.Raw(b"\xc1"))
    log = [
        ("2-0", LogEntry("a", 1, [good])),
        ("3-0", LogEntry("a", 2, [bad])),
        ("4-0", LogEntry("a", 3, [snapshot_of(late)])),
    ]
    found = latest_replica(log, AT_S)
    assert found is not None
    assert encode(found[1]) == encode(busy_replica())
    assert latest_replica(log[1:], AT_S) is None
