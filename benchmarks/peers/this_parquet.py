"""This client: a pull into a Parquet file, as the command line does it."""

import tempfile
from pathlib import Path

from benchmarks.harness.task import TOKEN, Measured, Task
from benchmarks.harness.watch import DeadlineTimer
from benchmarks.peers.plans import plan_of
from spot_billing_async import ClientConfig, SpotBillingClient
from spot_billing_async.export import write_costs

STANDS_ON = ("aiohttp", "anyio", "msgspec", "pyarrow")


async def run(task: Task) -> Measured:
    """Pull, write, and see how large the file is."""
    plan = plan_of(task.calls, task.accounts)
    config = ClientConfig(max_concurrency=task.concurrency)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "costs.parquet"
        async with SpotBillingClient(TOKEN, base_url=task.base_url, config=config) as client:
            with DeadlineTimer(task) as watch:
                async with client.costs.pull(plan) as run:
                    report = await write_costs(run, path)
        assert report.complete
        return watch.measured(report.rows, file_bytes=path.stat().st_size)
