"""This client: a pull into a Parquet file, as by the command line."""

import tempfile
from pathlib import Path

from benchmarks.harness.task import TOKEN, Measurement, Task
from benchmarks.harness.watch import Stopwatch
from benchmarks.peers.plans import plan_of
from spot_billing_async import ClientConfig, SpotBillingClient
from spot_billing_async.export import write_costs

LIBRARIES = ("aiohttp", "anyio", "msgspec", "pyarrow")


async def run(task: Task) -> Measurement:
    """Pull into a file, and return its size too."""
    plan = plan_of(task.calls, task.accounts)
    config = ClientConfig(max_concurrency=task.concurrency)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "costs.parquet"
        async with SpotBillingClient(TOKEN, base_url=task.base_url, config=config) as client:
            with Stopwatch(task) as watch:
                async with client.costs.pull(plan) as run:
                    report = await write_costs(run, path)
        assert report.complete
        return watch.measurement(report.rows, file_bytes=path.stat().st_size)
