"""State machine of an outage, and the outages of a client, on a manual clock."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spot_billing_async._core.pacing.outage import Outage, Outages, Scope
from spot_billing_async.errors import ServerError, SpotBillingError, TransportError
from spot_billing_async.telemetry import AvailabilityChanged, Event
from tests.support import Clock
from tests.virtual import run_virtually

SCOPE: Scope = ("operation", "getCosts", "key")
RESET = TransportError("reset")
FULL = 8


def outage_of(chance: float = 1.0) -> Outage:
    return Outage(SCOPE, FULL, lambda: chance)


def fail(outage: Outage, queries: int, now_s: float, error: SpotBillingError = RESET) -> None:
    for number in range(queries):
        outage.on_failure(f"q{number}", error, now_s, now_s)


def probe(outage: Outage, *, succeeds: bool, took_s: float = 0.0) -> float:
    """Send the next probe at its time; return when it ended."""
    now_s = outage.probe_at_s
    assert outage.start_probe(now_s)
    if succeeds:
        outage.on_success(now_s, now_s + took_s)
    else:
        outage.on_failure("probe", RESET, now_s, now_s + took_s)
    outage.end_probe(now_s + took_s)
    return now_s + took_s


def away(chance: float = 1.0) -> Outage:
    """Return a confirmed outage that began at 10 s."""
    outage = outage_of(chance)
    fail(outage, 5, 10.0)
    for _ in range(2):
        probe(outage, succeeds=False)
    assert state_of(outage) == "away"
    return outage


def test_five_different_queries_make_an_outage() -> None:
    """Failures of the same query do not count twice, and a success starts the count anew."""
    outage = outage_of()
    for now_s in range(9):
        outage.on_failure("q0", RESET, now_s, now_s)
    fail(outage, 4, 10.0)
    assert state_of(outage) == "up"
    outage.on_success(9.0, 11.0)
    fail(outage, 4, 12.0)
    assert state_of(outage) == "up"
    fail(outage, 5, 13.0)
    assert state_of(outage) == "suspected"
    assert (outage.since_s, outage.probe_at_s) == (12.0, 13.0)


def test_a_first_probe_that_succeeds_refutes_an_outage() -> None:
    """The queries that failed were at fault: everything goes on at full speed."""
    outage = outage_of()
    fail(outage, 5, 10.0)
    probe(outage, succeeds=True)
    assert state_of(outage) == "up"


def test_two_failed_probes_confirm_an_outage() -> None:
    """Pauses grow between the probes, by chance, up to five seconds."""
    outage = outage_of()
    fail(outage, 5, 10.0)
    probe(outage, succeeds=False)
    assert state_of(outage) == "suspected"
    assert outage.probe_at_s == pytest.approx(10.1)
    pauses_s = []
    for _ in range(30):
        ended_s = probe(outage, succeeds=False)
        pauses_s.append(outage.probe_at_s - ended_s)
    assert state_of(outage) == "away"
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] == pytest.approx(0.13)
    assert pauses_s[-1] == pytest.approx(5.0)
    assert away(chance=0.0).probe_at_s < away(chance=1.0).probe_at_s


def test_a_success_opens_gradually() -> None:
    """Two slices may run after an outage, and one more after each success."""
    outage = away()
    now_s = probe(outage, succeeds=True)
    assert state_of(outage) == "reopening"
    assert [outage.start() for _ in range(3)] == [True, True, False]
    outage.on_success(now_s, now_s + 1)
    outage.running -= 1
    assert [outage.start() for _ in range(3)] == [True, True, False]
    for _ in range(FULL - 3):
        outage.on_success(now_s, now_s + 2)
    assert state_of(outage) == "up"
    assert not outage.start()


def test_a_relapse_is_noticed_at_once() -> None:
    """While it reopens, as many failures as slices that may run close it again."""
    outage = away()
    now_s = probe(outage, succeeds=True)
    outage.on_failure("q1", RESET, now_s, now_s)
    assert state_of(outage) == "reopening"
    outage.on_failure("q2", RESET, now_s, now_s)
    assert state_of(outage) == "suspected"
    probe(outage, succeeds=True)
    assert state_of(outage) == "reopening"


def test_old_requests_say_nothing() -> None:
    """A request that was sent before the gate closed or opened does not move it."""
    outage = outage_of()
    fail(outage, 5, 10.0)
    outage.on_success(9.9, 10.5)
    assert state_of(outage) == "suspected"
    outage = away()
    now_s = probe(outage, succeeds=True, took_s=1.0)
    fail_late = [f"q{number}" for number in range(9)]
    for query in fail_late:
        outage.on_failure(query, RESET, now_s - 0.5, now_s + 1)
    assert state_of(outage) == "reopening"
    outage.on_success(now_s - 0.5, now_s + 1)
    assert [outage.start() for _ in range(3)] == [True, True, False]


def test_a_probe_waits_as_the_server_asks() -> None:
    """The wait that an answer to a probe asks for is kept to, up to a minute."""
    for asked_s, waited_s in ((20.0, 20.0), (3600.0, 60.0), (None, 0.169)):
        outage = away()
        now_s = outage.probe_at_s
        assert outage.start_probe(now_s)
        outage.on_failure("q", ServerError(503, retry_after_s=asked_s), now_s, now_s)
        outage.end_probe(now_s)
        assert outage.probe_at_s - now_s == pytest.approx(waited_s)


def test_a_wait_of_other_queries_does_not_delay_the_first_probe() -> None:
    """A broken account whose answers ask for an hour does not stop the pull for a minute."""
    outage = outage_of()
    fail(outage, 5, 10.0, ServerError(503, retry_after_s=3600.0))
    assert outage.probe_at_s == 10.0


def state_of(outage: Outage) -> str:
    """Return the state, which mypy then does not take for a constant."""
    return outage.state


class Traffic(RuleBasedStateMachine):
    """Random requests, probes and slices of a scope, in any order and with any delay."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 10.0
        self.outage = Outage(SCOPE, FULL, random.Random(1).random)  # noqa: S311  for a test
        self.sent: list[tuple[int, float]] = []
        self.probing = False
        self.running = 0
        self.queries = 0

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    @rule()
    def send(self) -> None:
        """Send a request of a single call."""
        self.queries += 1
        self.sent.append((self.queries, self.now_s))

    @precondition(lambda self: self.sent)
    @rule(place=st.integers(0, 10**6), fails=st.booleans(), wait_s=st.floats(0, 1e9) | st.none())
    def end(self, place: int, fails: bool, wait_s: float | None) -> None:
        """End a request, out of order."""
        query, sent_s = self.sent.pop(place % len(self.sent))
        if fails:
            error = ServerError(503, retry_after_s=wait_s)
            self.outage.on_failure(f"q{query}", error, sent_s, self.now_s)
        else:
            self.outage.on_success(sent_s, self.now_s)

    @rule()
    def start_slice(self) -> None:
        """Start a slice if it may run."""
        self.running += self.outage.start()

    @precondition(lambda self: self.running)
    @rule()
    def end_slice(self) -> None:
        """End a slice."""
        self.running -= 1
        self.outage.running -= 1

    @rule()
    def start_probe(self) -> None:
        """Start a probe if it is time."""
        started = self.outage.start_probe(self.now_s)
        assert not (started and self.probing), "two probes at a time"
        self.probing = self.probing or started

    @precondition(lambda self: self.probing)
    @rule()
    def end_probe(self) -> None:
        """End a probe without a word of the server."""
        self.probing = False
        self.outage.end_probe(self.now_s)

    @invariant()
    def a_probe_is_due_soon(self) -> None:
        """No closed gate is closed for ever: a probe is due within a minute."""
        if self.outage.is_closed and not self.outage.is_probing:
            assert self.outage.probe_at_s <= self.now_s + 60

    @invariant()
    def successes_lead_back(self) -> None:
        """From any state, a probe and as many successes as slices may run open the gate fully."""
        from copy import deepcopy  # noqa: PLC0415  the machine itself must not move

        outage, now_s = deepcopy(self.outage), self.now_s + 61
        if outage.is_closed:
            if outage.is_probing:
                outage.end_probe(now_s)
                now_s += 61
            assert outage.start_probe(now_s)
            outage.on_success(now_s, now_s)
            outage.end_probe(now_s)
        for _ in range(FULL):
            outage.on_success(now_s, now_s)
        assert state_of(outage) == "up"


TestTraffic = Traffic.TestCase


@given(st.floats(0.1, 300), st.integers(0, 2**32))
def test_probes_are_few_and_find_the_end_soon(away_s: float, seed: int) -> None:
    """An outage costs 20 probes and one a second, and two thirds of its time at most, or 5 s."""
    outage = Outage(SCOPE, FULL, random.Random(seed).random)  # noqa: S311  for a test
    fail(outage, 5, 10.0)
    probes = 0
    while outage.probe_at_s < 10.0 + away_s:
        probes += 1
        probe(outage, succeeds=False)
    assert probes <= 20 + away_s
    assert outage.probe_at_s - (10.0 + away_s) <= min(5.0, 0.1 + away_s * 2 / 3)


def test_outages_are_reported_and_wake_those_who_wait() -> None:
    """Each failed probe of an outage is an event with the time of the next; so is the end."""

    async def main() -> None:
        clock = asyncio.get_running_loop().time
        events: list[Event] = []
        outages = Outages(clock, events.append, FULL)
        assert outages.worst([SCOPE]) is None
        for number in range(5):
            outages.on_failure(SCOPE, f"q{number}", RESET, clock())
        outage = outages.worst([("connection", None, None), SCOPE])
        assert outage is not None
        for _ in range(2):
            await outages.wait(max(0.0, outage.probe_at_s - clock()))
            assert outage.start_probe(clock())
            outages.end_probe(outage)
        waiting = asyncio.create_task(outages.wait(60.0))
        await asyncio.sleep(0.05)
        outages.on_success(SCOPE, clock())
        await waiting
        assert clock() < 1010
        assert state_of(outage) == "reopening"
        for _ in range(FULL):
            outages.on_success(SCOPE, clock())
        assert not outages.by_scope
        first, last = events
        assert isinstance(first, AvailabilityChanged)
        assert isinstance(last, AvailabilityChanged)
        assert first.text.startswith("the API is unavailable, next try in 0.")
        assert (first.scope, first.operation_id, first.error) == (*SCOPE[:2], "TransportError")
        assert last.text.startswith("the API is available again after ")

    run_virtually(main())


def test_the_least_recently_used_outage_is_forgotten() -> None:
    """A backend with many tenants keeps a bounded number of outages."""
    outages = Outages(Clock(), None, FULL)
    for number in range(1001):
        outages.on_failure(("token", None, number), "q", RESET, 0.0)
    assert len(outages.by_scope) == 1000
    assert ("token", None, 0) not in outages.by_scope
