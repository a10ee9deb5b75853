"""Millions of rows into a table: `python -m benchmarks.claims.rows`, fewer with `--quick`.

A server in a process of its own, which is never the limit, makes a thousand rows for each day that
is requested. Each number of rows is synced by a client in a process of its own into a new table,
two days per request. Its peak of memory, as the kernel reports it, must not grow with the rows.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from benchmarks.harness.quick import is_quick
from benchmarks.harness.server import Canned, http_response
from benchmarks.harness.watch import resident_mib
from spot_billing_async import SpotBillingClient
from tests.support_processes import CHECKOUT, TOKEN, child_process

ACCOUNTS = 20
ROWS_PER_DAY = 1000
ROWS, QUICK_ROWS = (1_000_000, 3_000_000, 10_000_000), (300_000, 1_000_000)
FIRST_DAY = date(2024, 1, 1)
WINDOW_DAYS = 2
MOST_GROWTH = 0.10

_QUERY = re.compile(rb"accountId=([^& ]+)&fromDate=([\d-]+)&toDate=([\d-]+)")
_ROWS = b",".join(
    b'{"accountId":"ACCOUNT","cloudProvider":"aws","service":"Service %04d","date":"THE-DAY",'
    b'"cost":0.%04dORDINAL,"currency":"USD"}' % (number, number)
    for number in range(ROWS_PER_DAY)
)


class Result(NamedTuple):
    """Rows, time and memory of one sync."""

    rows: int
    elapsed_s: float
    peak_mib: float

    @property
    def rows_per_second(self) -> float:
        """Rows per second, from the first request to the last commit."""
        return self.rows / self.elapsed_s


def respond(query: bytes) -> bytes:
    """Return the response with the rows of the days that a query asks for."""
    asked = _QUERY.search(query)
    assert asked is not None
    account, first, last = (word.decode() for word in asked.groups())
    return http_response(page_body(account, date.fromisoformat(first), date.fromisoformat(last)))


def page_body(account: str, first: date, last: date) -> bytes:
    """Return the rows of an account's days as JSON."""
    rows = _ROWS.replace(b"ACCOUNT", account.encode())
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    items = b",".join(
        rows.replace(b"THE-DAY", day.isoformat().encode()).replace(
            b"ORDINAL", b"%07d" % day.toordinal()
        )
        for day in days
    )
    count = ROWS_PER_DAY * ((last - first).days + 1)
    return b'{"request":{"id":"r1"},"response":{"items":[%b],"count":%d}}' % (items, count)


def total_of(days: int) -> Decimal:
    """Return the total of all accounts for a number of days."""
    ordinals = sum((FIRST_DAY + timedelta(days=n)).toordinal() for n in range(days))
    units = days * 10**7 * sum(range(ROWS_PER_DAY)) + ROWS_PER_DAY * ordinals
    return Decimal(ACCOUNTS * units).scaleb(-11)


def command(*arguments: str) -> list[str]:
    """Return the command that runs this module as a process of its own."""
    return [sys.executable, "-m", "benchmarks.claims.rows", *arguments]


@contextmanager
def server() -> Iterator[str]:
    """Run the server in a process of its own; yields its base URL."""
    with child_process(command("serve")) as child:
        yield f"http://127.0.0.1:{child.first_line}"


def run_sync(base_url: str, table: str, rows: int) -> Result:
    """Sync a number of rows in a process of its own, which checks their total."""
    days = rows // ROWS_PER_DAY // ACCOUNTS
    done = subprocess.run(  # noqa: S603  this checkout's own code
        command("sync", base_url, table, str(days)),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        check=True,
    )
    result = json.loads(done.stdout)
    return Result(**result)


def growth(results: list[Result]) -> float:
    """Return the growth of the peak of memory over that of the first result, as a share."""
    return max(each.peak_mib for each in results) / results[0].peak_mib - 1


def main() -> None:
    """Print rows per second and the peak of memory; exit 1 where that grows too much."""
    results: list[Result] = []
    sizes = QUICK_ROWS if is_quick(__doc__) else ROWS
    print(f"{'rows':>12} {'seconds':>9} {'rows/s':>9} {'peak MiB':>9}")
    with server() as base_url, tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            result = run_sync(base_url, f"{folder}/{rows}", rows)
            assert result.rows == rows
            results.append(result)
            print(
                f"{result.rows:>12,} {result.elapsed_s:>9.1f} {result.rows_per_second:>9,.0f} "
                f"{result.peak_mib:>9.0f}",
                flush=True,
            )
    print(f"the peak of memory grows by {growth(results):.1%}; bar {MOST_GROWTH:.0%}")
    sys.exit(growth(results) > MOST_GROWTH)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Canned(respond), "127.0.0.1", 0)
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
    peak_mib = resident_mib("VmHWM")  # before the checks below, which read the table
    assert report.complete
    assert report.totals == {"USD": total_of(days)}
    rows, total = _rows_and_total(table)
    assert total == total_of(days)
    return {"rows": rows, "elapsed_s": report.elapsed_s, "peak_mib": peak_mib}


def _rows_and_total(table: str) -> tuple[int, Decimal]:
    # Late: deltalake belongs to an extra.
    from deltalake import DeltaTable, QueryBuilder  # noqa: PLC0415  see above

    sql = "SELECT count(*) AS rows, sum(cost) AS total FROM t"
    selected = QueryBuilder().register("t", DeltaTable(table)).execute(sql).read_all()
    return selected["rows"][0].as_py(), selected["total"][0].as_py()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(_serve())
        case ["sync", base_url, table, days]:
            print(json.dumps(asyncio.run(_sync(base_url, table, int(days)))))
        case _:
            main()
