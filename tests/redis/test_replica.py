"""Replicas of one gate: whoever reads the same log decides the same."""

from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator import RateLimit
from spot_billing_async.redis.replica import (
    LEASE_S,
    STATE_EVERY,
    Answered,
    Asked,
    Dropped,
    Entry,
    Event,
    Joined,
    Refused,
    Replica,
    is_after,
    latest_state,
    read_entry,
    read_replica,
    state_of,
    written,
)
from tests.redis.world import Process, World, finish

QUOTAS = st.builds(
    Quota,
    st.none() | st.integers(1, 20),
    st.none() | st.integers(0, 20),
    st.none() | st.floats(0, 60),
)
NUMBERS = st.integers(1, 30)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Asked, NUMBERS, st.integers(1, 5)),
    st.builds(Answered, NUMBERS, QUOTAS),
    st.builds(Refused, NUMBERS, QUOTAS, st.none() | st.floats(0, 60)),
    st.builds(Dropped, NUMBERS, st.booleans()),
    st.builds(Joined, st.lists(NUMBERS, max_size=3, unique=True)),
)
ENTRIES = st.builds(
    Entry,
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 9),
    st.lists(EVENTS, max_size=4),
)


@given(st.lists(st.tuples(st.integers(0, 5000), ENTRIES), max_size=40), st.integers(0, 40))
def test_who_begins_with_a_state_decides_like_who_read_it_all(
    log: list[tuple[int, Entry]], joins_at: int
) -> None:
    """Whatever the log says: a replica that is written down and read back goes on as it was."""
    first, second = Replica(), Replica()
    clock_ms = 1_800_000_000_000
    for number, (pause_ms, entry) in enumerate(log):
        clock_ms += pause_ms
        told = read_entry(written(entry))
        if number == joins_at:
            second = read_replica(written(first))
        granted = first.read(f"{clock_ms}-{number}", told)
        if number >= joins_at:
            assert second.read(f"{clock_ms}-{number}", told) == granted
    if len(log) > joins_at:
        assert written(first) == written(second)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["want", "want", "want", "write", "read", "send", "hear", "wait"]),
    ),
    max_size=150,
)
AT_ONCE = 6


def step(world: World, process: Process, what: str) -> None:
    if what == "wait":
        world.now_s += 0.05
    for _ in range(AT_ONCE if what == "want" else 1):
        if what != "wait":
            getattr(process, what)()


@given(st.integers(FIRST_REQUESTS, 25), STEPS)
def test_no_more_is_granted_than_the_window_allows(
    limit: int, steps: list[tuple[int, str]]
) -> None:
    """However writing, reading, sending and answers of three processes mix: none is refused."""
    world = World(RateLimit(limit, 60.0))
    processes = [Process(world, name) for name in "abc"]
    for who, what in steps:
        step(world, processes[who], what)
    assert sum(len(p.admitted) + len(p.under_way) for p in processes) <= limit
    finish(world, processes, within_s=60.0 * (AT_ONCE * len(steps) / limit + 3))
    assert world.refusals == 0


@given(st.integers(FIRST_REQUESTS, 25), STEPS)
def test_what_a_process_held_that_died_comes_back(limit: int, steps: list[tuple[int, str]]) -> None:
    """After its lease: the others have all that they want, and nobody is left in the books."""
    world = World(RateLimit(limit, 2.0))
    processes = [Process(world, name) for name in "abc"]
    for who, what in steps:
        step(world, processes[who], what)
    processes[0].is_dead = True
    for process in processes[1:]:
        process.want()
    finish(world, processes, within_s=100.0)
    world.now_s += 2 * LEASE_S
    for process in processes[1:]:
        process.want()
    finish(world, processes, within_s=100.0)
    first, second = (process.limiter.replica for process in processes[1:])
    assert first.held == second.held == {}


@given(STEPS, st.lists(st.integers(0, 2), max_size=4), STEPS)
def test_who_was_apart_comes_back_with_what_it_has_under_way(
    before: list[tuple[int, str]], apart: list[int], after: list[tuple[int, str]]
) -> None:
    """It goes on by itself meanwhile; then all have the same books, and nobody waits for ever."""
    world = World(RateLimit(20, 2.0))
    processes = [Process(world, name) for name in "abc"]
    for who, what in before:
        step(world, processes[who], what)
    for who in apart:
        processes[who].go_apart()
    for who, what in after:
        step(world, processes[who], what)
    for who in set(apart):
        processes[who].join()
    finish(world, processes, within_s=300.0)
    assert len({written(process.limiter.replica) for process in processes}) == 1
    assert processes[0].limiter.replica.held == {}


def test_a_long_log_is_begun_at_its_last_state() -> None:
    """Which whoever wrote the entry before it writes; what is older is not needed."""
    world = World(RateLimit(20, 2.0))
    early = Process(world, "early")
    while early.limiter.replica.entries < 2 * STATE_EVERY + 100:
        if early.wanted + len(early.admitted) + len(early.under_way) == 0:
            early.want()
        early.go_on()
        world.now_s += 0.01
    log = [(entry_id, read_entry(data)) for entry_id, data in world.log]
    state = latest_state(log)
    assert early.limiter.replica.checkpoint == state.at
    assert is_after(state.at, early.limiter.replica.kept_from)
    world.log = [row for row in world.log if not is_after(early.limiter.replica.kept_from, row[0])]
    late = Process(world, "late")
    early.read()
    assert written(late.limiter.replica) == written(early.limiter.replica)


def test_who_missed_entries_notices() -> None:
    """At the next state, which is of an entry that it does not know of."""
    world = World(RateLimit(20, 2.0))
    process = Process(world, "slow")
    other = Replica()
    other.read("1800000000000-9", Entry("fast", 1, []))
    entry = Entry("fast", 2, [state_of(other)])
    assert not process.limiter.advance([("1800000000001-0", entry)], process.now_s)


def test_what_is_no_entry_comes_to_nothing() -> None:
    """For all who read it alike: somebody else may write into the same server."""
    assert read_entry(b"\xc1 nonsense").events == []
    assert read_entry(b"").events == []
