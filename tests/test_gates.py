"""Gates are found by credential and operation, and let go of when they know nothing any more."""

from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S, Gate
from spot_billing_async._core.pacing.registry import Gates


def test_views_with_one_token_share_a_gate() -> None:
    """What one learned of the quota the next one knows; no other credential or operation does."""
    gates = Gates(lambda _space, _operation_id: Gate(), lambda: 0.0)
    assert gates.known("a", "getCostAnalysis") is None
    gate = gates.of("a", "getCostAnalysis")
    assert gates.of("a", "getCostAnalysis") is gate is gates.known("a", "getCostAnalysis")
    assert gate is not gates.of("b", "getCostAnalysis")
    assert gate is not gates.of("a", "listAccountFamilies")


def test_tenants_that_are_gone_take_no_memory() -> None:
    """Of thousands that came once, those remain who came lately; who keeps coming, keeps a gate."""
    now_s = 0.0
    gates = Gates(lambda _space, _operation_id: Gate(), lambda: now_s)
    regular = gates.of("regular", "getCostAnalysis")
    for tenant in range(20_000):
        now_s += LONGEST_WAIT_S / 100
        gates.of(f"tenant {tenant}", "getCostAnalysis")
        assert gates.of("regular", "getCostAnalysis") is regular
    assert len(gates._kept) <= 1_002
