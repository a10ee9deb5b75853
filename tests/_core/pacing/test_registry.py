"""Limiters by credential and operation, and the removal of unused ones."""

from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S, RouteLimiter
from spot_billing_async._core.pacing.registry import LimiterRegistry


def test_views_with_one_token_share_a_limiter() -> None:
    """Each credential and operation has its own limiter, shared by all views."""
    limiters = LimiterRegistry(lambda _namespace, _operation_id: RouteLimiter(), lambda: 0.0)
    assert limiters.get("a", "getCostAnalysis") is None
    limiter = limiters.get_or_create("a", "getCostAnalysis")
    assert limiters.get_or_create("a", "getCostAnalysis") is limiter
    assert limiters.get("a", "getCostAnalysis") is limiter
    assert limiter is not limiters.get_or_create("b", "getCostAnalysis")
    assert limiter is not limiters.get_or_create("a", "listAccountFamilies")


def test_limiters_of_inactive_tenants_are_removed() -> None:
    """Of thousands of tenants only recent ones remain, and a regular one keeps its limiter."""
    now_s = 0.0
    limiters = LimiterRegistry(lambda _namespace, _operation_id: RouteLimiter(), lambda: now_s)
    regular = limiters.get_or_create("regular", "getCostAnalysis")
    for tenant in range(20_000):
        now_s += LONGEST_WAIT_S / 100
        limiters.get_or_create(f"tenant {tenant}", "getCostAnalysis")
        assert limiters.get_or_create("regular", "getCostAnalysis") is regular
    assert len(limiters._entries) <= 1_002
