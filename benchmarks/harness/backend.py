"""A backend that streams costs, under uvicorn in a process of its own; and the API behind it.

`python -m benchmarks.harness.backend` serves the API: the emulator over its sample, with some
latency. It prints its address, and for each line of standard input what it counted so far.
"""

import asyncio
import contextlib
import gc
import os
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import msgspec
from fastapi import FastAPI

from benchmarks.harness.watch import resident_mib
from spot_billing_async import CostPlan
from spot_billing_async.emulator import Emulator
from spot_billing_async.fastapi import (
    CostStream,
    SpotBilling,
    add_error_handlers,
    spot_billing_lifespan,
    stream_costs,
)

TOKEN = "benchmark"  # noqa: S105  the emulator's own
LATENCY = "80ms±70ms"
FROM, TO = date(2024, 1, 1), date(2024, 6, 30)
STARTS_WITHIN_S = 30

app = FastAPI(lifespan=spot_billing_lifespan())
add_error_handlers(app)


@app.get("/costs")
async def costs(account_id: str, client: SpotBilling) -> CostStream:
    """Half a year of an account, month by month."""
    plan = CostPlan.build([account_id], FROM, TO, "month", "service")
    return stream_costs(client.costs.pull(plan))


class State(NamedTuple):
    """What a backend's process holds.

    Attributes:
        tasks: of its loop, those of this question included.
        in_use: connections to the API that carry a request.
        sockets: all that are open.
        resident_mib: its memory.
    """

    tasks: int
    in_use: int
    sockets: int
    resident_mib: float


@app.get("/state")
async def state(client: SpotBilling) -> State:
    """What this process holds now."""
    gc.collect()
    session = client._shared.transport.session  # noqa: SLF001  no public way to see a leak
    assert session is not None
    connector = session.connector
    assert connector is not None
    in_use = len(connector._acquired)  # noqa: SLF001  the same
    return State(len(asyncio.all_tasks()), in_use, open_sockets(), resident_mib())


def open_sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  what is listed is open
        with contextlib.suppress(OSError):
            count += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return count


@contextmanager
def uvicorn(
    application: str, environment: Mapping[str, str], *options: str, cwd: Path | None = None
) -> Iterator[str]:
    """Serve an app by uvicorn, `module:name`, in a process of its own; yields its base URL.

    Raises:
        RuntimeError: it does not answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    base_url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port)]
    command += ["--log-level", "warning", *options]
    with subprocess.Popen(command, env=environment, cwd=cwd) as server:  # noqa: S603  our own code
        try:
            _until_it_listens(server, port)
            yield base_url
        finally:
            server.terminate()


def _until_it_listens(server: "subprocess.Popen[bytes]", port: int) -> None:
    ends_s = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends_s and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"uvicorn did not start within {STARTS_WITHIN_S} s: {server.returncode}")


def state_of(base_url: str) -> State:
    """What the backend there holds."""
    with urllib.request.urlopen(f"{base_url}/state") as answer:  # noqa: S310  loopback
        return msgspec.json.decode(answer.read(), type=State)


async def main() -> None:
    """Serve the API, and tell what it counts, until standard input ends."""
    async with Emulator(token=TOKEN, latency=LATENCY) as server:
        print(server.base_url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            counts = [server.requests, server.under_way, server.abandoned]
            print(msgspec.json.encode(counts).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
