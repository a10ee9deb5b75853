"""What befalls a request by chance, and how that is written down."""

from collections import Counter

import pytest

from spot_billing_async.emulator import Fault, FaultPlan, Latency
from spot_billing_async.emulator.chaos import randomness as chance
from spot_billing_async.emulator.chaos.randomness import Chance, Lot

TARGETS = [f"/billingEngine/cost?accountId={number}" for number in range(300)]


def drawing(seed: int = 0, faults: str = "0.5", latency: str = "50ms±20ms") -> Chance:
    return Chance(FaultPlan.parse(faults), Latency.parse(latency), seed)


@pytest.mark.parametrize(
    ("text", "latency"),
    [
        ("50ms", Latency(0.05)),
        ("0.05s", Latency(0.05)),
        ("50ms±20ms", Latency(0.05, 0.02)),
        ("0.5s+-20ms", Latency(0.5, 0.02)),
    ],
)
def test_a_latency_is_read(text: str, latency: Latency) -> None:
    """A mean and, where it varies, a spread, each with its unit."""
    assert Latency.parse(text) == latency


@pytest.mark.parametrize("text", ["", "50", "-50ms", "50ms±", "50ms20ms", "fast"])
def test_a_latency_that_makes_no_sense(text: str) -> None:
    """It is refused with what is allowed."""
    with pytest.raises(ValueError, match="50ms±20ms"):
        Latency.parse(text)


def test_faults_are_read() -> None:
    """A share is of all kinds but lies, evenly; names have shares of their own; 0 is no faults."""
    even = FaultPlan.parse("0.11").shares
    assert set(even.values()) == {0.11 / 11}
    assert even.keys() == {fault for fault in Fault if not fault.is_lie}
    assert FaultPlan.parse("lost-row=0.1").shares == {Fault.LOST_ROW: 0.1}
    assert FaultPlan.parse("reset-before=0.02, gzip-bomb=0.01").shares == {
        Fault.RESET_BEFORE: 0.02,
        Fault.GZIP_BOMB: 0.01,
    }
    assert FaultPlan.parse("0") == FaultPlan.even(0) == FaultPlan({})
    assert FaultPlan.parse("1") == FaultPlan.even(1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "written like"),
        ("often", "written like"),
        ("garbage=often", "written like"),
        ("reset=0.1", "reset-before, reset-in-headers"),
        ("garbage=0.1,garbage=0.1", "twice"),
        ("garbage=0.6,cut-off=0.5", "at most 1"),
        ("garbage=-0.1", "0 to 1"),
        ("nan", "0 to 1"),
        ("1.5", "0 to 1"),
    ],
)
def test_faults_that_make_no_sense(text: str, told: str) -> None:
    """They are refused with what is allowed; an unknown kind with all there are."""
    with pytest.raises(ValueError, match=told):
        FaultPlan.parse(text)


def test_the_order_of_different_requests_changes_nothing() -> None:
    """The lot of a request follows from the seed, itself, and how many equal ones came before."""
    forward, backward = drawing(), drawing()
    first = [(target, forward.draw("GET", target)) for target in TARGETS * 2]
    again = [(target, backward.draw("GET", target)) for target in reversed(TARGETS * 2)]
    in_turn = {target: [lot for each, lot in first if each == target] for target in TARGETS}
    assert in_turn == {target: [lot for each, lot in again if each == target] for target in TARGETS}
    assert any(one != two for one, two in in_turn.values())


def test_another_seed_method_or_target_is_another_lot() -> None:
    """Nothing but the equal request under the same seed draws the same."""
    lot = drawing().draw("GET", "/x")
    assert drawing().draw("GET", "/x") == lot
    assert drawing(seed=1).draw("GET", "/x") != lot
    assert drawing().draw("POST", "/x") != lot
    assert drawing().draw("GET", "/y\udcff") != lot


def test_shares_and_spread_are_kept() -> None:
    """Of many requests each kind meets about its share, and latencies fill the spread."""
    chance = drawing(faults="garbage=0.3,cut-off=0.1")
    lots = [chance.draw("GET", f"/{number}") for number in range(5000)]
    counts = Counter(lot.fault for lot in lots)
    assert counts.keys() == {None, Fault.GARBAGE, Fault.CUT_OFF}
    assert 1400 < counts[Fault.GARBAGE] < 1600
    assert 430 < counts[Fault.CUT_OFF] < 570
    latencies = sorted(lot.latency_s for lot in lots)
    assert 0.03 <= latencies[0] < 0.031
    assert 0.069 < latencies[-1] <= 0.07


def test_where_nothing_varies_nothing_is_counted() -> None:
    """A fixed latency without faults costs no memory."""
    chance = drawing(faults="0", latency="50ms")
    assert chance.draw("GET", "/x") == Lot(None, 0.05)
    assert not chance._seen


def test_the_memory_for_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was longest not seen is forgotten, and draws its first lot again."""
    monkeypatch.setattr(chance, "_MOST_TARGETS", 2)
    drawn = drawing()
    first, second = drawn.draw("GET", "/a"), drawn.draw("GET", "/a")
    drawn.draw("GET", "/b")
    drawn.draw("GET", "/c")
    assert len(drawn._seen) == 2
    assert drawn.draw("GET", "/a") == first != second
