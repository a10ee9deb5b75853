"""A table's sync, killed at random moments: `python -m benchmarks.claims.kills`.

The real bill is synced by day and service, by a process of its own, from an emulator in another. It
is killed (kill -9) at a random moment, and again, and then left to finish. Its table has to hold
the rows and the sum of an undisturbed one, and the emulator must have seen no more requests than
one run needs and, for each kill, those whose answers were not committed: the answers of a batch,
those that the crew of the pull fetched ahead, and those in flight.
"""

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow as pa

from benchmarks.harness.bill import ACCOUNTS, FIRST_DAY, LAST_DAY, TOTAL, real_bill
from benchmarks.harness.child import serving_child
from benchmarks.harness.opponent import TOKEN
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, SpotBillingClient
from spot_billing_async.emulator import Emulator

KILLS, QUICK_KILLS = 100, 8
KILLS_A_TABLE = 4
LONGEST_S = 0.4
CONCURRENCY, BATCH_REQUESTS = 4, 8
LATENCY = "10ms±5ms"
REQUESTS = ((LAST_DAY - FIRST_DAY).days + 1) * len(ACCOUNTS)
BOUND_A_KILL = BATCH_REQUESTS + 3 * CONCURRENCY
"""A batch; and of each worker two answers that wait, and one that waits to wait or is asked for."""


class Outcome(NamedTuple):
    """What a table came to, and what it took."""

    rows: list[tuple[object, ...]]
    total: Decimal
    requests: int
    kills: int


class Server:
    """The emulator's process, which is asked how many requests it has seen."""

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self._process = process
        self.base_url = base_url

    def requests(self) -> int:
        """Requests so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def command(*words: str) -> list[str]:
    """How this module is run as a process of its own."""
    return [sys.executable, "-W", "error", "-m", "benchmarks.claims.kills", *words]


@contextmanager
def server(bills: Sequence[Path]) -> Iterator[Server]:
    """An emulator of some bills in a process of its own."""
    with serving_child(command("serve", *map(str, bills))) as child:
        yield Server(child.process, child.said)


def synced(server: Server, table: str, kill_after_s: float | None) -> bool:
    """Sync in a process of its own; killed so many seconds after it has begun, or not at all.

    Returns:
        Whether it was killed: it may have been done before.
    """
    with subprocess.Popen(  # noqa: S603  this checkout's own code
        command("sync", server.base_url, table),
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # what comes before is the interpreter's
        if kill_after_s is not None:
            try:
                process.wait(kill_after_s)
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()
    assert process.returncode in {0, -signal.SIGKILL}
    return process.returncode != 0


def outcome(server: Server, table: str, kills_after_s: Sequence[float]) -> Outcome:
    """Sync a table, killed after each of some times, and finish it."""
    before = server.requests()
    kills = sum(synced(server, table, kill_after_s) for kill_after_s in kills_after_s)
    synced(server, table, None)
    # Late: deltalake belongs to an extra.
    from deltalake import DeltaTable, QueryBuilder  # noqa: PLC0415  see above

    sql = "SELECT query_account_id, date, service, cost, currency FROM t"
    found = QueryBuilder().register("t", DeltaTable(table)).execute(sql)
    rows = pa.RecordBatchReader.from_stream(found).read_all().to_pylist()
    total = sum((row["cost"] for row in rows), Decimal(0))
    met = sorted(tuple(map(str, row.values())) for row in rows)
    return Outcome(list(met), total, server.requests() - before, kills)


def wrong_with(killed: Outcome, undisturbed: Outcome) -> list[str]:
    """What a table that was killed for has wrong."""
    wrong = [] if killed.rows == undisturbed.rows else ["rows: not those of an undisturbed run"]
    wrong += [] if killed.total == TOTAL else [f"sum: {killed.total}"]
    most = REQUESTS + killed.kills * BOUND_A_KILL
    return wrong + ([] if killed.requests <= most else [f"requests: {killed.requests} > {most}"])


def kill_times(seed: int) -> list[float]:
    """Seconds after which the runs of a table are killed."""
    chance = Random(seed)  # noqa: S311  a seeded trace, no secret
    return [chance.uniform(0, LONGEST_S) for _ in range(KILLS_A_TABLE)]


def main() -> None:
    """Print what came of the kills, beside the bars; exit 1 where something is wrong."""
    wanted = QUICK_KILLS if is_quick(__doc__) else KILLS
    wrong: list[str] = []
    met: list[Outcome] = []
    with server(real_bill()) as served, tempfile.TemporaryDirectory() as folder:
        started_s = time.monotonic()
        undisturbed = outcome(served, f"{folder}/undisturbed", [])
        elapsed_s = time.monotonic() - started_s
        assert (undisturbed.total, undisturbed.requests) == (TOTAL, REQUESTS)
        while sum(each.kills for each in met) < wanted:
            seed = len(met)
            met.append(outcome(served, f"{folder}/{seed}", kill_times(seed)))
            wrong += [f"seed {seed}: {each}" for each in wrong_with(met[-1], undisturbed)]
    print(f"undisturbed: {REQUESTS} requests, {len(undisturbed.rows)} rows in {elapsed_s:.1f} s")
    print_table(met, wrong)
    sys.exit(bool(wrong))


def print_table(met: Sequence[Outcome], wrong: Sequence[str]) -> None:
    """What was met beside what is allowed."""
    kills = sum(each.kills for each in met)
    more = [(each.requests - REQUESTS) / each.kills for each in met if each.kills]
    print(f"{kills} runs of {len(met)} tables were killed, within {LONGEST_S} s of their start")
    print(f"{'':34} {'met':>6} {'bar':>6}")
    print(f"{'tables with other rows or sum':34} {_count(wrong, 'rows', 'sum'):>6} {0:>6}")
    mean = sum(each.requests - REQUESTS for each in met) / kills
    print(f"{'more requests a kill, mean':34} {mean:>6.1f} {BOUND_A_KILL:>6}")
    print(f"{'more requests a kill, worst table':34} {max(more):>6.1f} {BOUND_A_KILL:>6}")
    print("\n".join(wrong[:20]))


def _count(wrong: Sequence[str], *kinds: str) -> int:
    return len({line.split(": ")[0] for line in wrong if line.split(": ")[1] in kinds})


async def _serve(bills: Sequence[str]) -> None:
    async with Emulator(focus=list(map(Path, bills)), token=TOKEN, latency=LATENCY) as emulator:
        print(emulator.base_url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(emulator.requests, flush=True)


async def _sync(base_url: str, table: str) -> None:
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table import sync  # noqa: PLC0415  see above

    config = ClientConfig(max_concurrency=CONCURRENCY)
    async with SpotBillingClient(TOKEN, base_url=base_url, config=config) as client:
        print(flush=True)
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
        case _:
            main()
