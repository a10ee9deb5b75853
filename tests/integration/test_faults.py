"""Pulls of a real bill through faults of every kind; `tests/soak` runs larger ones."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from spot_billing_async import ClientConfig, CostPlan, PullReport, RetryPolicy, SpotBillingClient
from spot_billing_async.emulator import Emulator

ACCOUNTS = ["836060457634", "011254002932"]
RETRY = RetryPolicy(backoff_base_s=0.01, backoff_cap_s=0.1)
CONFIG = ClientConfig(
    max_response_bytes=2**20, retry=RETRY
)  # a gzip bomb of the emulator has 64 times as much


async def pull(shared: Path, share: float, days: int, config: ClientConfig = CONFIG) -> PullReport:
    files = sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))
    last = date(2018, 11, 30)
    plan = CostPlan.build(ACCOUNTS, last - timedelta(days=days - 1), last, "day", "service")
    async with (
        Emulator(focus=files, token="t", faults=share, seed=3) as server,
        SpotBillingClient("t", base_url=server.base_url, config=config) as client,
        client.costs.pull(plan) as run,
    ):
        async for _ in run:
            pass
        assert run.report.requests == server.requests
    return run.report


async def test_a_few_faults_cost_only_retries(shared: Path) -> None:
    """A pull with a few faults fetches every slice, and its total is exact."""
    report = await pull(shared, 0.05, days=150)
    assert report.complete
    assert report.totals == {"USD": Decimal("7569.8100996647")}
    assert report.retries > 0


async def test_a_server_that_always_fails_still_ends_the_pull(shared: Path) -> None:
    """The pull ends, its report adds up, and it sends at most 1.2 requests per slice.

    Without kept connections, as a request that found its connection dead does not count.
    """
    config = ClientConfig(
        max_response_bytes=2**20, retry=RETRY, reuse_connections=False, outage_patience_s=1.0
    )
    report = await pull(shared, 1.0, days=50, config=config)
    assert report.planned == report.ok + report.empty + report.failed == 100
    assert report.failed > 0
    assert report.requests <= 1.2 * report.planned
