"""Plan of a sync: the number of requests, and the minimum duration."""

from datetime import date
from typing import Any

import pytest
from deltalake import DeltaTable

from spot_billing_async import RateLimit, SpotBillingClient
from spot_billing_async.emulator import Emulator
from spot_billing_async.table import plan, sync

ACCOUNT = "011254002932"
FIRST, LAST = date(2024, 1, 1), date(2024, 2, 29)


async def test_the_minimum_duration_follows_from_the_rate_limit(table: str) -> None:
    """The rate limit is the client's; without a client, the one that the last sync stored."""
    scope: dict[str, Any] = {"from_date": FIRST, "to_date": LAST, "group_by": None, "today": LAST}
    async with (
        Emulator(token="t", rate_limit="40/60s") as server,
        SpotBillingClient("t", base_url=server.base_url) as client,
    ):
        before = await plan(table, accounts=[ACCOUNT], window="day", client=client, **scope)
        assert (before.requests, before.rate_limit, before.least_s) == (60, None, None)
        await sync(client, table, accounts=[ACCOUNT], **scope)
        after = await plan(table, accounts=[ACCOUNT], window="day", client=client, **scope)
    assert after.rate_limit == RateLimit(40, 60.0)
    # Other tools write commits to the ledger's log too, without the rate limit.
    DeltaTable(f"{table}_ledger").optimize.compact()
    stored = await plan(table, accounts=[f"a{n}" for n in range(3)], window="day", **scope)
    assert stored.rate_limit == RateLimit(40, 60.0)
    assert (stored.requests, stored.least_s) == (180, 240.0)


@pytest.mark.parametrize(
    ("requests", "least_s"), [(0, 0), (1, 0), (40, 0), (41, 2), (80, 2), (81, 4), (1000, 48)]
)
def test_the_rate_limit_window_bounds_the_duration(requests: int, least_s: float) -> None:
    """One window full of requests starts at once, and another each time a window has passed."""
    assert RateLimit(40, 2.0).least_s(requests) == least_s
