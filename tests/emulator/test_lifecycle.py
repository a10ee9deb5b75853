"""Start and stop of the emulator, options, and data that persists."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from spot_billing_async.emulator import DatabaseError, Emulator, Latency, RateLimit
from spot_billing_async.emulator.data import sample

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

FAMILY = "/billingEngine/family"


async def test_leaving_the_block_stops_at_once() -> None:
    """Idle connections are closed, requests in flight are dropped, no task or thread remains."""
    tasks_before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with Emulator(token="t", latency="60s") as slow, Emulator(token="t") as server:
            headers = {"Authorization": "Bearer t"}
            async with session.get(server.base_url, headers=headers) as answer:
                assert answer.status == 404
            waiting = asyncio.create_task(session.get(slow.base_url).__aenter__())
            while not slow.requests:  # noqa: ASYNC110  the server has no event to wait for
                await asyncio.sleep(0)
            started = time.monotonic()
        assert time.monotonic() - started < 1
        with pytest.raises(aiohttp.ClientError):
            await waiting
        with pytest.raises(aiohttp.ClientError):
            await session.get(slow.base_url if slow._base_url else "http://127.0.0.1:1")
    assert asyncio.all_tasks() == tasks_before
    assert not [thread for thread in threading.enumerate() if "emulator" in thread.name]


async def test_outside_of_its_block_there_is_no_server() -> None:
    """The URL, totals and accounts raise an error before and after the block."""
    server = Emulator()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            _ = server.base_url
        with pytest.raises(RuntimeError):
            await server.ledger_totals()
        with pytest.raises(RuntimeError):
            await server.account_ids()
        async with server:
            assert server.base_url.startswith("http://127.0.0.1:")


async def test_requests_in_flight_and_abandoned_are_counted() -> None:
    """A request whose client disconnects before the response ends, and counts as abandoned."""
    async with Emulator(latency="60s") as server, aiohttp.ClientSession() as session:
        waiting = asyncio.create_task(session.get(server.base_url).__aenter__())
        while not server.under_way:  # noqa: ASYNC110  the server has no event to wait for
            await asyncio.sleep(0)
        assert (server.requests, server.under_way, server.abandoned) == (1, 1, 0)
        waiting.cancel()
        while server.under_way:  # noqa: ASYNC110  as above
            await asyncio.sleep(0)
        assert (server.requests, server.under_way, server.abandoned) == (1, 0, 1)


async def test_account_ids() -> None:
    """`account_ids` returns the accounts with costs, in order."""
    async with Emulator() as server:
        account_ids = await server.account_ids()
    assert account_ids == sorted(account_ids)
    assert len(account_ids) == 24


async def test_a_token_is_generated_if_none_is_given(bill: Bill) -> None:
    """A generated token is readable, and valid for its own server only."""
    async with Emulator(focus=[bill({})]) as one, Emulator(focus=[bill({})]) as two:
        assert one.token != two.token
        async with aiohttp.ClientSession() as session:
            for token, status in ((one.token, 200), (two.token, 401)):
                headers = {"Authorization": f"bearer {token}"}
                async with session.get(f"{one.base_url}{FAMILY}", headers=headers) as answer:
                    assert answer.status == status
        assert one.requests == 2


async def test_a_port_that_is_in_use(bill: Bill) -> None:
    """The start fails and leaves no thread behind."""
    async with Emulator(focus=[bill({})]) as server:
        port = int(server.base_url.rpartition(":")[2])
        threads = threading.active_count()
        with pytest.raises(OSError, match="in use"):
            async with Emulator(focus=[bill({})], port=port):
                pass
        assert threading.active_count() <= threads


@pytest.mark.parametrize(
    "options",
    [
        {"token": ""},
        {"token": "a b"},
        {"token": "t\udcff"},
        {"token": 5},
        {"port": 99999},
        {"port": -1},
        {"host": None},
        {"allow_host": "a.example"},
        {"allow_host": ["a.example:80"]},
        {"allow_host": ["[::1]"]},
        {"allow_host": [""]},
        {"allow_host": [5]},
        {"page_size": 0},
        {"max_rows": 0},
        {"page_size": "3"},
        {"faults": 2},
        {"faults": "x"},
        {"faults": {}},
        {"faults": "reset=0.1"},
        {"faults": "garbage=0.6,cut-off=0.6"},
        {"latency": "-1s"},
        {"latency": 0.05},
        {"latency": Latency(0.01, 0.02)},
        {"capacity": 0},
        {"other_consumer": 1.5},
        {"seed": "x"},
        {"rate_limit_headers": "no"},
        {"rate_limit": "100 a minute"},
        {"rate_limit": RateLimit(0, 60)},
        {"rate_limit": RateLimit(1, 0)},
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    """The constructor refuses an invalid option and names it."""
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must "):
        Emulator(**options)


async def test_a_database_keeps_everything(serve: Serve, bill: Bill, tmp_path: Path) -> None:
    """Ledger, families and setups survive a restart; a known file is not counted twice."""
    db, path = tmp_path / "state.db", bill({}, {"BilledCost": "0.12345678901234567890"})
    setup = {"costIntelligence": {"cloudProvider": "aws", "billingAccountId": "payer"}}
    async with serve(db=db, focus=[path]) as call:
        body = {"family": {"name": "One", "accountIds": ["007"]}}
        (family,) = (await call("POST", FAMILY, json=body)).items
        await call("POST", "/costIntelligence/setup", json=setup)
        totals = await call.server.ledger_totals()
    for focus in ([path], []):
        async with serve(db=db, focus=focus) as call:
            assert await call.server.ledger_totals() == totals
            assert (await call("GET", FAMILY)).items == [family]
            validation_path = "/costIntelligence/setup/validation"
            assert (await call("POST", validation_path, json=setup)).items[0]["valid"] is True


async def test_a_changed_file_replaces_its_rows(serve: Serve, bill: Bill, tmp_path: Path) -> None:
    """The ledger has the current content of a file, even if its modification time is unchanged."""
    db, path = tmp_path / "state.db", bill({})
    async with serve(db=db, focus=[path]):
        pass
    bill({"BilledCost": "3", "SubAccountId": "008"})
    async with serve(db=db, focus=[path]) as call:
        assert await call.server.ledger_totals() == {"USD": Decimal(3)}
        accounts = (await call("GET", "/billingEngine/account")).items
    assert [account["accountId"] for account in accounts] == ["008"]


async def test_the_sample_is_not_mixed_with_real_bills(
    serve: Serve, bill: Bill, tmp_path: Path
) -> None:
    """A database with the sample accepts no exports, and gets the sample only once."""
    db = tmp_path / "state.db"
    for _ in range(2):
        async with serve(db=db) as call:
            totals = await call.server.ledger_totals()
    async with serve() as call:
        assert await call.server.ledger_totals() == totals
    with pytest.raises(DatabaseError, match="sample"):
        async with serve(db=db, focus=[bill({})]):
            pass


async def test_a_file_that_is_not_a_database(serve: Serve, tmp_path: Path) -> None:
    """A file that is not a database is refused by name and not changed."""
    db = tmp_path / "state.db"
    db.write_text("not a database" * 1000)
    with pytest.raises(DatabaseError, match=r"state\.db"):
        async with serve(db=db):
            pass
    assert db.read_text() == "not a database" * 1000


_SERVE_FOREVER = """
import asyncio, sys
from pathlib import Path
from spot_billing_async.emulator import Emulator

async def main():
    async with Emulator(db=Path(sys.argv[1]), focus=[sys.argv[2]], token="t") as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_acknowledged_changes_survive_a_kill(
    serve: Serve, bill: Bill, tmp_path: Path
) -> None:
    """After a kill -9 every family acknowledged with a 200 exists, and the ledger is complete."""
    db, path = tmp_path / "state.db", bill({"BilledCost": "0.1234567890123456789"})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SERVE_FOREVER, str(db), str(path)), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        base_url = (await process.stdout.readline()).decode().strip()
        names = [f"Family {number}" for number in range(20)]
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer t"}) as session:
            for name in names:
                body = {"family": {"name": name}}
                async with session.post(f"{base_url}{FAMILY}", json=body) as answer:
                    assert answer.status == 200
            process.send_signal(signal.SIGKILL)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    async with serve(db=db) as call:
        assert [family["name"] for family in (await call("GET", FAMILY)).items] == names
        assert await call.server.ledger_totals() == {"USD": Decimal("0.1234567890123456789")}


async def test_the_sample_is_deterministic(serve: Serve) -> None:
    """The sample has three clouds, 24 accounts, two years and two currencies, with known totals."""
    async with serve() as call:
        accounts = (await call("GET", "/billingEngine/account")).items
        costs = await call.costs(groupBy="service")
        families = await call.costs(groupBy="family", toDate="2024-01-01")
        totals = await call.server.ledger_totals()
    assert totals == {"EUR": Decimal("1305325.173454873"), "USD": Decimal("7379041.6047330181")}
    assert {account["cloudProvider"] for account in accounts} == {"aws", "azure", "gcp"}
    assert len(accounts) == 24
    assert {costs[0]["date"], costs[-1]["date"]} == {
        sample.FROM_DATE.isoformat(),
        sample.TO_DATE.isoformat(),
    }
    assert {item["family"] for item in families} == {"Platform", "Data", "Retail", None}
    assert any(account["accountId"].startswith("0") for account in accounts)
    assert any("/" in account["accountId"] for account in accounts)


def test_without_duckdb_the_error_names_the_extra() -> None:
    """Importing the emulator without duckdb raises an error with the install command."""
    script = "import sys; sys.modules['duckdb'] = None; import spot_billing_async.emulator"
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "pip install '.[emulator]'" in done.stderr
