"""Random faults and latency: their text forms, distribution and reproducibility."""

from collections import Counter

import pytest

from spot_billing_async.emulator import Fault, FaultPlan, Latency
from spot_billing_async.emulator.chaos import randomness
from spot_billing_async.emulator.chaos.randomness import Draw, RandomTrace

TARGETS = [f"/billingEngine/cost?accountId={number}" for number in range(300)]


def new_trace(seed: int = 0, faults: str = "0.5", latency: str = "50ms±20ms") -> RandomTrace:
    return RandomTrace(FaultPlan.parse(faults), Latency.parse(latency), seed)


@pytest.mark.parametrize(
    ("text", "latency"),
    [
        ("50ms", Latency(0.05)),
        ("0.05s", Latency(0.05)),
        ("50ms±20ms", Latency(0.05, 0.02)),
        ("0.5s+-20ms", Latency(0.5, 0.02)),
    ],
)
def test_a_latency_is_parsed(text: str, latency: Latency) -> None:
    """A text has a mean and optionally a spread, each with its unit."""
    assert Latency.parse(text) == latency


@pytest.mark.parametrize("text", ["", "50", "-50ms", "50ms±", "50ms20ms", "fast"])
def test_an_invalid_latency_is_refused(text: str) -> None:
    """The error for an invalid latency shows the expected form."""
    with pytest.raises(ValueError, match="50ms±20ms"):
        Latency.parse(text)


def test_faults_are_parsed() -> None:
    """A single share is divided among the kinds that a client can detect; 0 means no faults."""
    even = FaultPlan.parse("0.11").shares
    assert set(even.values()) == {0.11 / 11}
    assert even.keys() == {
        fault for fault in Fault if not (fault.is_wrong_answer or fault.is_misdelivered)
    }
    assert FaultPlan.parse("lost-row=0.1").shares == {Fault.LOST_ROW: 0.1}
    assert FaultPlan.parse("reset-before=0.02, gzip-bomb=0.01").shares == {
        Fault.RESET_BEFORE: 0.02,
        Fault.GZIP_BOMB: 0.01,
    }
    assert FaultPlan.parse("0") == FaultPlan.even(0) == FaultPlan({})
    assert FaultPlan.parse("1") == FaultPlan.even(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "written like"),
        ("often", "written like"),
        ("garbage=often", "written like"),
        ("reset=0.1", "reset-before, reset-in-headers"),
        ("garbage=0.1,garbage=0.1", "only once"),
        ("garbage=0.6,cut-off=0.5", "at most 1"),
        ("garbage=-0.1", "0 to 1"),
        ("nan", "0 to 1"),
        ("1.5", "0 to 1"),
    ],
)
def test_invalid_faults_are_refused(text: str, message: str) -> None:
    """The error for invalid faults shows what is allowed; for an unknown kind, all kinds."""
    with pytest.raises(ValueError, match=message):
        FaultPlan.parse(text)


def test_the_order_of_different_requests_changes_nothing() -> None:
    """A draw depends on the seed, the request and the number of equal requests before it."""
    forward, backward = new_trace(), new_trace()
    first = [(target, forward.draw("GET", target)) for target in TARGETS * 2]
    again = [(target, backward.draw("GET", target)) for target in reversed(TARGETS * 2)]
    by_target = {target: [draw for each, draw in first if each == target] for target in TARGETS}
    assert by_target == {
        target: [draw for each, draw in again if each == target] for target in TARGETS
    }
    assert any(one != two for one, two in by_target.values())


def test_seed_method_and_target_determine_the_draw() -> None:
    """Only an equal request with the same seed gets the same draw."""
    draw = new_trace().draw("GET", "/x")
    assert new_trace().draw("GET", "/x") == draw
    assert new_trace(seed=1).draw("GET", "/x") != draw
    assert new_trace().draw("POST", "/x") != draw
    assert new_trace().draw("GET", "/y\udcff") != draw


def test_draws_match_the_shares_and_the_spread() -> None:
    """Many draws contain about the share of each fault, and latencies over the whole spread."""
    trace = new_trace(faults="garbage=0.3,cut-off=0.1")
    draws = [trace.draw("GET", f"/{number}") for number in range(5000)]
    counts = Counter(draw.fault for draw in draws)
    assert counts.keys() == {None, Fault.GARBAGE, Fault.CUT_OFF}
    assert 1400 < counts[Fault.GARBAGE] < 1600
    assert 430 < counts[Fault.CUT_OFF] < 570
    latencies = sorted(draw.latency_s for draw in draws)
    assert 0.03 <= latencies[0] < 0.031
    assert 0.069 < latencies[-1] <= 0.07


def test_a_fixed_latency_counts_no_requests() -> None:
    """A fixed latency without faults needs no memory for requests."""
    trace = new_trace(faults="0", latency="50ms")
    assert trace.draw("GET", "/x") == Draw(None, 0.05)
    assert not trace._seen


def test_the_memory_for_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently seen request is forgotten, and gets its first draw again."""
    monkeypatch.setattr(randomness, "_MAX_TARGETS", 2)
    trace = new_trace()
    first, second = trace.draw("GET", "/a"), trace.draw("GET", "/a")
    trace.draw("GET", "/b")
    trace.draw("GET", "/c")
    assert len(trace._seen) == 2
    assert trace.draw("GET", "/a") == first != second
