"""A shared gate beside its log, by hand."""

from math import inf

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator import RateLimit
from spot_billing_async.redis.replica import LEASE_S, RENEW_S, Answered, Renewed, read_entry
from spot_billing_async.redis.server_clock import ServerClock
from tests.redis.world import Process, World, finish


def world_of(*names: str) -> tuple[World, list[Process]]:
    world = World(RateLimit(FIRST_REQUESTS, 60.0))
    return world, [Process(world, name) for name in names]


def test_a_request_starts_when_its_question_has_come_back() -> None:
    """Not before: another one may stand in front of it in the log."""
    _, (process,) = world_of("a")
    process.want()
    assert process.limiter.wait_s(process.now_s) == inf
    process.write()
    assert not process.admitted
    process.read()
    assert len(process.admitted) == 1


def test_places_that_nobody_takes_any_more_are_given_back() -> None:
    """The calls that they were asked for were cancelled meanwhile."""
    _, (one, other) = world_of("a", "b")
    for _ in range(FIRST_REQUESTS):
        one.want()
    one.write()
    one.wanted = 0
    other.want()
    other.write()
    for _ in range(2):
        one.read()
        one.write()
        other.read()
        other.write()
    assert one.limiter.replica.held.keys() == {"b"}
    assert len(other.admitted) == 1


def test_a_lease_ends_though_nobody_tells_anything() -> None:
    """All that may start is held by one that died: the others look again when its lease is over."""
    world, (dies, waits) = world_of("a", "b")
    for _ in range(FIRST_REQUESTS):
        dies.want()
    dies.write()
    waits.want()
    for _ in range(2):
        waits.write()
        waits.read()
    wait_s = waits.limiter.wait_s(waits.now_s)
    assert LEASE_S - 0.1 < wait_s < LEASE_S + 0.1
    world.now_s += wait_s
    waits.changed(waits.limiter)
    waits.go_on()
    assert waits.limiter.replica.held.keys() == {"b"}


def test_places_whose_lease_has_ended_are_not_taken() -> None:
    """A process was stopped after it asked: others may have its places when it goes on."""
    world, (stopped, other) = world_of("a", "b")
    for _ in range(FIRST_REQUESTS):
        stopped.want()
    stopped.write()
    other.read()
    world.now_s += LEASE_S
    other.want()
    other.write()
    other.read()
    stopped.read()
    assert not stopped.admitted
    assert not stopped.limiter._under_way
    assert stopped.limiter.replica.held.keys() == other.limiter.replica.held.keys() <= {"b"}
    finish(world, [stopped, other], 600.0)
    assert (stopped.done, other.done, world.refusals) == (FIRST_REQUESTS, 1, 0)


def test_a_process_that_holds_something_is_heard_of() -> None:
    """A request may take longer than a lease: it is renewed, and by whatever else is told."""
    world, (process,) = world_of("a")
    process.want()
    process.write()
    process.read()
    for _ in range(5):
        world.now_s += RENEW_S + 0.1
        process.limiter.renew(process.now_s)
        process.limiter.renew(process.now_s)
        process.write()
        process.read()
    assert process.limiter.replica.held.keys() == {"a"}
    told = [event for _, data in world.log for event in read_entry(data).events]
    assert told.count(Renewed()) == 5


def test_what_was_refused_is_known_before_the_log_says_it() -> None:
    """A call decides at once whether it is going to try again in time."""
    _, (process,) = world_of("a")
    process.want()
    process.go_on()
    process.want()
    process.write()
    process.read()
    permit = process.admitted.popleft()
    process.limiter.on_rejected(permit, process.now_s, Quota(10, 0, 7.0), None)
    assert process.limiter.due_s(process.now_s) == 7.0
    process.write()
    process.read()
    assert 6.9 < process.limiter.due_s(process.now_s) <= 7.0


def test_apart_a_gate_decides_at_once() -> None:
    """By the replica that it has; what it had told and did not come back counts there."""
    world, (process, _) = world_of("a", "b")
    process.want()
    process.write()
    process.go_apart()
    assert len(process.admitted) == 1
    process.want()
    assert len(process.admitted) == 2
    before = len(world.log)
    process.send()
    process.hear()
    process.write()
    assert len(world.log) == before


def test_what_comes_back_after_it_was_given_up_is_given_back() -> None:
    """An entry may be written late, when its process has gone apart and joined again."""
    world, (process,) = world_of("a")
    process.want()
    late = process.limiter.take()
    process.go_apart()
    process.join()
    process.write()
    world.write(late)
    process.want()
    for _ in range(2):
        process.read()
        process.write()
    held = process.limiter.replica.held["a"].permits
    assert held.keys() == {permit.number for permit in process.admitted}
    assert len(process.admitted) == 2


def test_what_is_told_holds_numbers_and_random_names_alone() -> None:
    """Nobody who reads the log learns whose costs are asked for."""
    world, (process,) = world_of("a")
    process.want()
    for _ in range(3):
        process.go_on()
    told = [event for _, data in world.log for event in read_entry(data).events]
    assert Answered(1, Quota(FIRST_REQUESTS, FIRST_REQUESTS - 1, 0)) in told


def test_the_clock_of_the_server_errs_on_the_late_side() -> None:
    """The stamp that was under way for the shortest time counts; later ones pull a little."""
    clock = ServerClock(0.0, 1000.0)
    assert clock.told(1500.0, 10.0) == 490.0
    clock.came(1500.9, 11.0)
    assert 1500.99 < clock.stamp_s(11.0) < 1501.0
    clock.came(1501.999, 12.0)
    assert clock.stamp_s(12.0) == 1501.999
