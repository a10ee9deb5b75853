"""Pulls over a link that loses segments, delays them, and is down for 5 s."""

import asyncio
from datetime import date, timedelta
from urllib.parse import urlsplit

import pytest

from spot_billing_async import CostPlan, SpotBillingClient
from tests.support_lossy_link import lossy_link
from tests.support_processes import TOKEN, emulator_process

pytestmark = pytest.mark.soak

DAY = date(2024, 1, 1)


@pytest.mark.parametrize("loss", [0.0, 0.002, 0.01])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_slice_is_missing(loss: float, seed: int) -> None:
    """Every slice is fetched, although segments are lost and the link is down for 5 s."""
    plan = CostPlan.build(["a1"], DAY, DAY + timedelta(1999), "day")
    with emulator_process() as behind:
        port = urlsplit(behind).port
        assert port is not None
        async with (
            lossy_link(port, loss=loss, jitter_s=0.2, seed=seed) as (base_url, link),
            SpotBillingClient(TOKEN, base_url=base_url) as client,
            client.costs.pull(plan) as run,
        ):
            down = asyncio.create_task(_fail_later(link.fail))
            async for _ in run:
                pass
            await down
        report = run.report
    print(loss, seed, link.lost, report)  # noqa: T201  for the record of the run
    assert report.failed == report.not_started == 0
    assert report.retries <= link.lost + 2


async def _fail_later(fail: object) -> None:
    await asyncio.sleep(3.0)
    assert callable(fail)
    await fail(5.0)
