"""Millions of rows into a table: `python -m benchmarks.claims.rows`, with fewer by `--quick`.

A server in a process of its own, which is never the limit, makes up a thousand rows for each day
that it is asked for. Each size is synced by a client in a process of its own, into a new table, two
days a request; its peak memory is the kernel's own figure. Memory must not grow with the rows.
"""

import asyncio
import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.child import serving_child
from benchmarks.harness.opponent import TOKEN
from benchmarks.harness.quick import is_quick
from benchmarks.harness.server import Canned
from spot_billing_async import SpotBillingClient

ACCOUNTS = 20
ROWS_A_DAY = 1000
ROWS, QUICK_ROWS = (1_000_000, 3_000_000, 10_000_000), (300_000, 1_000_000)
FIRST_DAY = date(2024, 1, 1)
WINDOW_DAYS = 2
MOST_GROWTH = 0.10

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_ASKED = re.compile(rb"accountId=([^& ]+)&fromDate=([\d-]+)&toDate=([\d-]+)")
_ROWS = b",".join(
    b'{"accountId":"ACCOUNT","cloudProvider":"aws","service":"Service %04d","date":"THE-DAY",'
    b'"cost":0.%04dORDINAL,"currency":"USD"}' % (number, number)
    for number in range(ROWS_A_DAY)
)


class Figures(NamedTuple):
    """What a sync of so many rows took."""

    rows: int
    elapsed_s: float
    peak_mb: float

    @property
    def rows_a_second(self) -> float:
        """Rows a second, from the first request to the last commit."""
        return self.rows / self.elapsed_s


class Made(Canned):
    """Makes up the rows of the days that it is asked for."""

    def __init__(self) -> None:
        super().__init__(b"")

    def data_received(self, data: bytes) -> None:
        """Make the answer when a head is complete."""
        asked = _ASKED.search(self._head + data)
        if asked is not None:
            account, first, last = (word.decode() for word in asked.groups())
            self._answer = answer_of(account, date.fromisoformat(first), date.fromisoformat(last))
        super().data_received(data)


def answer_of(account: str, first: date, last: date) -> bytes:
    """The rows of an account's days, as the bytes of an HTTP answer."""
    mine = _ROWS.replace(b"ACCOUNT", account.encode())
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    items = b",".join(
        mine.replace(b"THE-DAY", day.isoformat().encode()).replace(b"ORDINAL", _ordinal(day))
        for day in days
    )
    count = ROWS_A_DAY * ((last - first).days + 1)
    body = b'{"request":{"id":"r1"},"response":{"items":[%b],"count":%d}}' % (items, count)
    return _HEAD % len(body) + body


def _ordinal(day: date) -> bytes:
    """Digits of an amount that no other day has."""
    return b"%07d" % day.toordinal()


def total_of(days: int) -> Decimal:
    """What all accounts come to in so many days."""
    ordinals = sum((FIRST_DAY + timedelta(days=n)).toordinal() for n in range(days))
    units = days * 10**7 * sum(range(ROWS_A_DAY)) + ROWS_A_DAY * ordinals
    return Decimal(ACCOUNTS * units).scaleb(-11)


def command(*words: str) -> list[str]:
    """How this module is run as a process of its own."""
    return [sys.executable, "-m", "benchmarks.claims.rows", *words]


@contextmanager
def server() -> Iterator[str]:
    """The server in a process of its own; yields its base URL."""
    with serving_child(command("serve")) as child:
        yield f"http://127.0.0.1:{child.said}"


def synced(base_url: str, table: str, rows: int) -> Figures:
    """Sync so many rows in a process of its own; it has checked what came."""
    days = rows // ROWS_A_DAY // ACCOUNTS
    done = subprocess.run(  # noqa: S603  this checkout's own code
        command("sync", base_url, table, str(days)),
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        check=True,
    )
    said = json.loads(done.stdout)
    return Figures(said["rows"], said["elapsed_s"], said["peak_kb"] / 1024)


def growth(met: list[Figures]) -> float:
    """By how much more memory the largest takes than the smallest, as a share."""
    return max(each.peak_mb for each in met) / met[0].peak_mb - 1


def main() -> None:
    """Print rows a second and peak memory by size, beside the bar; exit 1 where it is missed."""
    met: list[Figures] = []
    sizes = QUICK_ROWS if is_quick(__doc__) else ROWS
    print(f"{'rows':>12} {'seconds':>9} {'rows/s':>9} {'peak MB':>9}")
    with server() as base_url, tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            figures = synced(base_url, f"{folder}/{rows}", rows)
            assert figures.rows == rows
            met.append(figures)
            print(
                f"{figures.rows:>12,} {figures.elapsed_s:>9.1f} {figures.rows_a_second:>9,.0f} "
                f"{figures.peak_mb:>9.0f}",
                flush=True,
            )
    print(f"peak memory grows by {growth(met):.1%}; bar {MOST_GROWTH:.0%}")
    sys.exit(growth(met) > MOST_GROWTH)


def _peak_kb() -> int:
    """The peak of this process alone; `ru_maxrss` may be its parent's, where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1])


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(Made, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    listening.close()


async def _sync(base_url: str, table: str, days: int) -> dict[str, Any]:
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table import sync  # noqa: PLC0415  see above

    async with SpotBillingClient(TOKEN, base_url=base_url) as client:
        report = await sync(
            client,
            table,
            accounts=[f"account-{number}" for number in range(ACCOUNTS)],
            from_date=FIRST_DAY,
            to_date=FIRST_DAY + timedelta(days=days - 1),
            group_by="service",
            window=WINDOW_DAYS,
        )
    peak_kb = _peak_kb()  # before what follows, which is no part of the sync
    assert report.complete
    assert report.totals == {"USD": total_of(days)}
    rows, total = _rows_and_total(table)
    assert total == total_of(days)
    return {"rows": rows, "elapsed_s": report.elapsed_s, "peak_kb": peak_kb}


def _rows_and_total(table: str) -> tuple[int, Decimal]:
    # Late: deltalake belongs to an extra.
    from deltalake import DeltaTable, QueryBuilder  # noqa: PLC0415  see above

    sql = "SELECT count(*) AS rows, sum(cost) AS total FROM t"
    found = QueryBuilder().register("t", DeltaTable(table)).execute(sql).read_all()
    return found["rows"][0].as_py(), found["total"][0].as_py()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(_serve())
        case ["sync", base_url, table, days]:
            print(json.dumps(asyncio.run(_sync(base_url, table, int(days)))))
        case _:
            main()
