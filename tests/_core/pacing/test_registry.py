"""Limiters are found by credential and operation, and forgotten when they know nothing any more."""

from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S, RouteLimiter
from spot_billing_async._core.pacing.registry import LimiterRegistry


def test_views_with_one_token_share_a_gate() -> None:
    """What one learned of the quota the next one knows; no other credential or operation does."""
    limiters = LimiterRegistry(lambda _space, _operation_id: RouteLimiter(), lambda: 0.0)
    assert limiters.get("a", "getCostAnalysis") is None
    limiter = limiters.get_or_create("a", "getCostAnalysis")
    assert (
        limiters.get_or_create("a", "getCostAnalysis")
        is limiter
        is limiters.get("a", "getCostAnalysis")
    )
    assert limiter is not limiters.get_or_create("b", "getCostAnalysis")
    assert limiter is not limiters.get_or_create("a", "listAccountFamilies")


def test_tenants_that_are_gone_take_no_memory() -> None:
    """Of thousands that came once, those remain who came lately; who keeps coming, keeps a gate."""
    now_s = 0.0
    limiters = LimiterRegistry(lambda _space, _operation_id: RouteLimiter(), lambda: now_s)
    regular = limiters.get_or_create("regular", "getCostAnalysis")
    for tenant in range(20_000):
        now_s += LONGEST_WAIT_S / 100
        limiters.get_or_create(f"tenant {tenant}", "getCostAnalysis")
        assert limiters.get_or_create("regular", "getCostAnalysis") is regular
    assert len(limiters._entries) <= 1_002
