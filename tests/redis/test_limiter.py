"""A shared limiter and its log, step by step."""

from math import inf

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator import RateLimit
from spot_billing_async.redis.replica import (
    LEASE_S,
    RENEW_S,
    LeaseRenewed,
    ResponseReceived,
    decode_entry,
)
from spot_billing_async.redis.server_clock import ServerClock
from tests.redis.simulation import Process, Simulation, finish


def simulate(*names: str) -> tuple[Simulation, list[Process]]:
    simulation = Simulation(RateLimit(FIRST_REQUESTS, 60.0))
    return simulation, [Process(simulation, name) for name in names]


def test_a_request_starts_once_its_permit_request_is_read_back() -> None:
    """A request does not start before: another process's entry may precede it in the log."""
    _, (process,) = simulate("a")
    process.call()
    assert process.limiter.wait_s(process.now_s) == inf
    process.write()
    assert not process.admitted
    process.read()
    assert len(process.admitted) == 1


def test_permits_that_no_call_takes_are_returned() -> None:
    """Permits are returned if their calls were cancelled before the grant was read."""
    _, (one, other) = simulate("a", "b")
    for _ in range(FIRST_REQUESTS):
        one.call()
    one.write()
    one.waiting = 0
    other.call()
    other.write()
    for _ in range(2):
        one.read()
        one.write()
        other.read()
        other.write()
    assert one.limiter.replica.leases.keys() == {"b"}
    assert len(other.admitted) == 1


def test_a_lease_ends_without_an_event() -> None:
    """If a dead process holds all permits, the others request them when its lease ends."""
    simulation, (dies, waits) = simulate("a", "b")
    for _ in range(FIRST_REQUESTS):
        dies.call()
    dies.write()
    waits.call()
    for _ in range(2):
        waits.write()
        waits.read()
    wait_s = waits.limiter.wait_s(waits.now_s)
    assert LEASE_S - 0.1 < wait_s < LEASE_S + 0.1
    simulation.now_s += wait_s
    waits.recheck(waits.limiter)
    waits.step()
    assert waits.limiter.replica.leases.keys() == {"b"}


def test_permits_of_an_ended_lease_are_not_taken() -> None:
    """A process suspended after its permit request may find its permits granted to others."""
    simulation, (suspended, other) = simulate("a", "b")
    for _ in range(FIRST_REQUESTS):
        suspended.call()
    suspended.write()
    other.read()
    simulation.now_s += LEASE_S
    other.call()
    other.write()
    other.read()
    suspended.read()
    assert not suspended.admitted
    assert not suspended.limiter._held
    assert suspended.limiter.replica.leases.keys() == other.limiter.replica.leases.keys() <= {"b"}
    finish(simulation, [suspended, other], 600.0)
    assert (suspended.done, other.done, simulation.rejections) == (FIRST_REQUESTS, 1, 0)


def test_a_process_with_permits_renews_its_lease() -> None:
    """A request may outlast a lease, which is renewed by an event of its own if necessary."""
    simulation, (process,) = simulate("a")
    process.call()
    process.write()
    process.read()
    for _ in range(5):
        simulation.now_s += RENEW_S + 0.1
        process.limiter.renew(process.now_s)
        process.limiter.renew(process.now_s)
        process.write()
        process.read()
    assert process.limiter.replica.leases.keys() == {"a"}
    logged = [event for _, data in simulation.log for event in decode_entry(data).events]
    assert logged.count(LeaseRenewed()) == 5


def test_a_rejection_takes_effect_before_it_is_read_back() -> None:
    """A call decides at once whether a retry can meet its deadline."""
    _, (process,) = simulate("a")
    process.call()
    process.step()
    process.call()
    process.write()
    process.read()
    permit = process.admitted.popleft()
    process.limiter.on_rejected(permit, process.now_s, Quota(10, 0, 7.0), None)
    assert process.limiter.min_wait_s(process.now_s) == 7.0
    process.write()
    process.read()
    assert 6.9 < process.limiter.min_wait_s(process.now_s) <= 7.0


def test_a_detached_limiter_decides_at_once() -> None:
    """A detached limiter uses its own replica, and applies its unconfirmed events there."""
    simulation, (process, _) = simulate("a", "b")
    process.call()
    process.write()
    process.detach()
    assert len(process.admitted) == 1
    process.call()
    assert len(process.admitted) == 2
    before = len(simulation.log)
    process.send()
    process.receive()
    process.write()
    assert len(simulation.log) == before


def test_permits_granted_by_a_late_entry_are_returned() -> None:
    """An entry may be written late, after its process was detached and attached again."""
    simulation, (process,) = simulate("a")
    process.call()
    late = process.limiter.take_entry()
    process.detach()
    process.attach()
    process.write()
    simulation.append(late)
    process.call()
    for _ in range(2):
        process.read()
        process.write()
    held = process.limiter.replica.leases["a"].permits
    assert held.keys() == {permit.number for permit in process.admitted}
    assert len(process.admitted) == 2


def test_events_hold_only_numbers_and_random_names() -> None:
    """The log does not reveal whose costs are fetched."""
    simulation, (process,) = simulate("a")
    process.call()
    for _ in range(3):
        process.step()
    logged = [event for _, data in simulation.log for event in decode_entry(data).events]
    assert ResponseReceived(1, Quota(FIRST_REQUESTS, FIRST_REQUESTS - 1, 0)) in logged


def test_the_estimated_server_clock_is_late_rather_than_early() -> None:
    """The stamp with the shortest transfer time counts; others lower the estimate a little."""
    clock = ServerClock(0.0, 1000.0)
    assert clock.synchronize(1500.0, 10.0) == 490.0
    clock.observe(1500.9, 11.0)
    assert 1500.99 < clock.stamp_s(11.0) < 1501.0
    clock.observe(1501.999, 12.0)
    assert clock.stamp_s(12.0) == 1501.999
