"""Plans of a given size, for pulls by this client."""

from datetime import date, timedelta

from spot_billing_async import CostPlan

FIRST = date(2000, 1, 1)


def plan_of(slices: int, accounts: int) -> CostPlan:
    """Return a plan of one-day slices, divided evenly among accounts."""
    days = slices // accounts
    names = [f"{i:012}" for i in range(accounts)]
    plan = CostPlan.build(names, FIRST, FIRST + timedelta(days=days - 1), window="day")
    assert len(plan) == slices
    return plan
