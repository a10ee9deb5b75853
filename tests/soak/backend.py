"""A FastAPI backend that streams costs, and the API behind it, for processes of their own.

`python -m tests.soak.backend` serves the API: the emulator over its sample, with some latency. It
prints its address, and for each line of standard input its counters as JSON.
"""

import asyncio
import contextlib
import gc
import os
import stat
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

import msgspec
from fastapi import FastAPI

from spot_billing_async import CostPlan
from spot_billing_async.emulator import Emulator
from spot_billing_async.fastapi import (
    CostStream,
    SpotBilling,
    add_error_handlers,
    spot_billing_lifespan,
    stream_costs,
)
from tests.support_processes import TOKEN

LATENCY = "80ms±70ms"
FROM, TO = date(2024, 1, 1), date(2024, 6, 30)

app = FastAPI(lifespan=spot_billing_lifespan())
add_error_handlers(app)


@app.get("/costs")
async def costs(account_id: str, client: SpotBilling) -> CostStream:
    """Stream half a year of one account, month by month."""
    plan = CostPlan.build([account_id], FROM, TO, "month", "service")
    return stream_costs(client.costs.pull(plan))


class State(NamedTuple):
    """Resources of a backend's process.

    Attributes:
        tasks: tasks of its event loop, those of this request included.
        in_use: connections to the API that carry a request.
        sockets: open sockets.
        resident_mib: memory.
    """

    tasks: int
    in_use: int
    sockets: int
    resident_mib: float


class Counts(NamedTuple):
    """Counters of the API.

    Attributes:
        requests: requests received.
        in_flight: requests that are being answered.
        aborted: requests whose client closed the connection.
    """

    requests: int
    in_flight: int
    aborted: int


@app.get("/state")
async def state(client: SpotBilling) -> State:
    """Return the resources of this process."""
    gc.collect()
    connector = client._connections._opened().connector
    assert connector is not None
    in_use = len(connector._acquired)
    return State(len(asyncio.all_tasks()), in_use, open_sockets(), resident_mib())


def resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmRSS:")[1].split()[0]) / 1024


def open_sockets() -> int:
    """Return the number of open sockets of this process."""
    count = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  numbers of open descriptors
        with contextlib.suppress(OSError):
            count += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return count


async def main() -> None:
    """Serve the API, and print its counters for each line of standard input, until that ends."""
    async with Emulator(token=TOKEN, latency=LATENCY) as server:
        print(server.base_url, flush=True)  # noqa: T201  the parent process reads it
        while await asyncio.to_thread(sys.stdin.readline):
            counts = Counts(server.requests, server.under_way, server.abandoned)
            print(msgspec.json.encode(counts).decode(), flush=True)  # noqa: T201  as above


if __name__ == "__main__":
    asyncio.run(main())
