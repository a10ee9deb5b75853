"""Syncs of a table that are killed at random moments and run again.

The real bill is synced by day and service in a process of its own, from an emulator in another one.
The sync is killed (kill -9) at random moments, and in the end runs without a kill. The table must
then hold the rows and the total of an undisturbed one. The emulator may see no more requests than
one sync needs, and for each kill those whose responses were not committed: the responses of one
batch, those that the workers of the pull fetched ahead, and those in flight.

`python -m tests.soak.kills serve BILL...` is the emulator's process, and
`python -m tests.soak.kills sync BASE_URL TABLE` that of a sync.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow as pa

from spot_billing_async import ClientConfig, SpotBillingClient
from spot_billing_async.emulator import Emulator
from tests.support_processes import CHECKOUT, TOKEN, Child, child_process
from tests.support_real_bill import ACCOUNTS, FIRST_DAY, LAST_DAY, TOTAL

KILLS_PER_TABLE = 4
LONGEST_S = 0.4
CONCURRENCY, BATCH_REQUESTS = 4, 8
LATENCY = "10ms±5ms"
REQUESTS = ((LAST_DAY - FIRST_DAY).days + 1) * len(ACCOUNTS)
MOST_PER_KILL = BATCH_REQUESTS + 3 * CONCURRENCY
"""A batch, and of each worker two responses in the buffer and one request in flight."""


class Result(NamedTuple):
    """A finished table.

    Attributes:
        rows: its rows, sorted.
        total: the sum of its costs.
        requests: requests of all its syncs.
        kills: syncs that were killed before they had finished.
    """

    rows: list[tuple[object, ...]]
    total: Decimal
    requests: int
    kills: int


class EmulatorServer:
    """An emulator in a process of its own.

    Attributes:
        base_url: its address.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self.base_url = child.first_line

    def requests(self) -> int:
        """Return the number of requests that it has received."""
        return int(self._child.query())


def command(*arguments: str) -> list[str]:
    """Return the command that runs this module as a process of its own."""
    return [sys.executable, "-W", "error", "-m", "tests.soak.kills", *arguments]


@contextmanager
def emulator_server(bills: Sequence[Path]) -> Iterator[EmulatorServer]:
    """Serve FOCUS exports by an emulator in a process of its own."""
    with child_process(command("serve", *map(str, bills))) as child:
        yield EmulatorServer(child)


def run_sync(server: EmulatorServer, table: str, kill_after_s: float | None) -> bool:
    """Sync in a process of its own, and return True if it was killed before it had finished.

    Args:
        server: the emulator.
        table: the table's path.
        kill_after_s: seconds from the start of the sync to the kill; None for no kill.
    """
    with subprocess.Popen(  # noqa: S603  this checkout's own code
        command("sync", server.base_url, table), cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # printed when the interpreter has started and imported
        if kill_after_s is not None:
            try:
                process.wait(kill_after_s)
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()
    assert process.returncode in {0, -signal.SIGKILL}
    return process.returncode != 0


def sync_with_kills(server: EmulatorServer, table: str, kills_after_s: Sequence[float]) -> Result:
    """Sync a table once for each kill, and once more without."""
    before = server.requests()
    kills = sum(run_sync(server, table, kill_after_s) for kill_after_s in kills_after_s)
    run_sync(server, table, None)
    # Late: deltalake belongs to an extra.
    from deltalake import DeltaTable, QueryBuilder  # noqa: PLC0415  see above

    sql = "SELECT query_account_id, date, service, cost, currency FROM t"
    selected = QueryBuilder().register("t", DeltaTable(table)).execute(sql)
    rows = pa.RecordBatchReader.from_stream(selected).read_all().to_pylist()
    total = sum((row["cost"] for row in rows), Decimal(0))
    texts = sorted(tuple(map(str, row.values())) for row in rows)
    return Result(list(texts), total, server.requests() - before, kills)


def problems_of(killed: Result, undisturbed: Result) -> list[str]:
    """Return a line for each rule that a table breaks whose syncs were killed."""
    problems = [] if killed.rows == undisturbed.rows else ["rows: not those of an undisturbed sync"]
    problems += [] if killed.total == TOTAL else [f"total: {killed.total}"]
    most = REQUESTS + killed.kills * MOST_PER_KILL
    return problems + ([] if killed.requests <= most else [f"requests: {killed.requests} > {most}"])


def kill_times(seed: int) -> list[float]:
    """Return the seconds after which the syncs of a table are killed."""
    random = Random(seed)  # noqa: S311  a seeded scenario, no secret
    return [random.uniform(0, LONGEST_S) for _ in range(KILLS_PER_TABLE)]


async def _serve(bills: Sequence[str]) -> None:
    async with Emulator(focus=list(map(Path, bills)), token=TOKEN, latency=LATENCY) as emulator:
        print(emulator.base_url, flush=True)  # noqa: T201  the parent process reads it
        while await asyncio.to_thread(sys.stdin.readline):
            print(emulator.requests, flush=True)  # noqa: T201  as above


async def _sync(base_url: str, table: str) -> None:
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table import sync  # noqa: PLC0415  see above

    config = ClientConfig(max_concurrency=CONCURRENCY)
    async with SpotBillingClient(TOKEN, base_url=base_url, config=config) as client:
        print(flush=True)  # noqa: T201  tells the parent process that the sync starts
        report = await sync(
            client,
            table,
            accounts=ACCOUNTS,
            from_date=FIRST_DAY,
            to_date=LAST_DAY,
            group_by="service",
            window="day",
            batch_requests=BATCH_REQUESTS,
        )
    assert report.complete


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", *bills]:
            asyncio.run(_serve(bills))
        case ["sync", base_url, table]:
            asyncio.run(_sync(base_url, table))
