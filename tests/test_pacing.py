"""When the next request may start."""

from spot_billing_async.pacing import Gate


def test_a_gate_is_open_until_a_refusal() -> None:
    """Nothing is waited for without a reason."""
    assert Gate().wait_s(0.0) == 0.0


def test_a_refusal_closes_the_gate_until_the_reset() -> None:
    """The clock decides; the gate opens by itself."""
    gate = Gate()
    gate.refused(100.0, 5.0)
    assert gate.wait_s(100.0) == 5.0
    assert gate.wait_s(103.0) == 2.0
    assert gate.wait_s(105.0) == 0.0


def test_the_latest_reset_counts() -> None:
    """Answers come out of order; an earlier reset, or none at all, does not open the gate."""
    gate = Gate()
    gate.refused(100.0, 5.0)
    gate.refused(101.0, 1.0)
    gate.refused(102.0, None)
    assert gate.wait_s(102.0) == 3.0
