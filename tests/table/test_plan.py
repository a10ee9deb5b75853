"""What a sync would take, told beforehand: requests, and how long they take at least."""

from datetime import date
from typing import Any

import pytest
from deltalake import DeltaTable

from spot_billing_async import RateLimit, SpotBillingClient
from spot_billing_async.emulator import Emulator
from spot_billing_async.table import plan, sync

ACCOUNT = "011254002932"
FIRST, LAST = date(2024, 1, 1), date(2024, 2, 29)


async def test_the_time_is_told_by_the_quota_that_was_learned(table: str) -> None:
    """From this client's answers; without it by what the ledger's last commit noted."""
    asked: dict[str, Any] = {"from_date": FIRST, "to_date": LAST, "group_by": None, "today": LAST}
    async with (
        Emulator(token="t", rate_limit="40/60s") as server,
        SpotBillingClient("t", base_url=server.base_url) as client,
    ):
        before = await plan(table, accounts=[ACCOUNT], window="day", client=client, **asked)
        assert (before.requests, before.rate_limit, before.least_s) == (60, None, None)
        await sync(client, table, accounts=[ACCOUNT], **asked)
        told = await plan(table, accounts=[ACCOUNT], window="day", client=client, **asked)
    assert told.rate_limit == RateLimit(40, 60.0)
    # Something else than a sync writes to the ledger too.
    DeltaTable(f"{table}_ledger").optimize.compact()
    noted = await plan(table, accounts=[f"a{n}" for n in range(3)], window="day", **asked)
    assert noted.rate_limit == RateLimit(40, 60.0)
    assert (noted.requests, noted.least_s) == (180, 240.0)


@pytest.mark.parametrize(
    ("requests", "least_s"), [(0, 0), (1, 0), (40, 0), (41, 2), (80, 2), (81, 4), (1000, 48)]
)
def test_the_window_bounds_how_fast_requests_go(requests: int, least_s: float) -> None:
    """As many as it holds go at once, and as many more each time it has passed."""
    assert RateLimit(40, 2.0).least_s(requests) == least_s
