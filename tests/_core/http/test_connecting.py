"""Connecting: its limit, names that change, certificates and proxies that refuse, open files."""

import asyncio
import errno
import json
import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest

from spot_billing_async import (
    ClientConfig,
    RetryPolicy,
    SpotBillingClient,
    TlsConfig,
    TransportError,
)
from spot_billing_async._core.http.shared import SharedState
from tests.hostile.parties import Files, proxying, serving
from tests.support import http, serve_streams
from tests.support_processes import CHECKOUT, TOKEN, emulator_process

GOOD = http(b'{"response":{"items":[],"count":0}}')
FAST = RetryPolicy(backoff_base_s=0.001)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD)


async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.Event().wait()


async def test_a_name_that_is_not_resolved_ends_with_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resolving a name counts as connecting: the request was certainly not sent."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    config = ClientConfig(connect_timeout_s=0.1, retry=RetryPolicy(max_attempts=1))
    async with SpotBillingClient("t", base_url="https://api.example", config=config) as client:
        with pytest.raises(TransportError, match="longer than connect_timeout_s") as caught:
            await client.accounts.list()
    assert not caught.value.sent


async def test_a_proxy_that_does_not_answer_ends_with_the_limit() -> None:
    """A proxy's tunnel counts as connecting."""
    async with serve_streams(mute) as port:
        config = ClientConfig(
            connect_timeout_s=0.1,
            proxy=f"http://127.0.0.1:{port}",
            retry=RetryPolicy(max_attempts=1),
        )
        async with SpotBillingClient("t", base_url="https://127.0.0.1:9", config=config) as client:
            with pytest.raises(TransportError, match="longer than connect_timeout_s") as caught:
                await client.accounts.list()
    assert not caught.value.sent


async def test_names_are_resolved_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """A server that moved to another address is found by the next attempt."""
    async with serve_streams(answer) as port:
        found = [unused_tcp_port, port]

        async def resolve(*_: object, **__: object) -> list[Any]:
            address = ("127.0.0.1", found.pop(0) if len(found) > 1 else found[0])
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        config = ClientConfig(retry=FAST, allow_insecure=True)
        base_url = f"http://api.example:{port}"
        async with SpotBillingClient("t", base_url=base_url, config=config) as client:
            assert await client.accounts.list() == []
    assert found == [port]


async def test_a_certificate_that_is_not_trusted_is_not_retried(tmp_path: Path) -> None:
    """An unknown authority stays unknown: one attempt, which did not send the request."""
    files = Files(tmp_path)
    async with (
        serving(files.server("localhost")) as (port, received),
        SpotBillingClient("t", base_url=f"https://localhost:{port}") as client,
    ):
        with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await client.accounts.list()
    assert (caught.value.attempts, caught.value.permanent, caught.value.sent) == (1, True, False)
    assert not received.heads


@pytest.mark.parametrize(("status", "attempts"), [("407 x", 1), ("502 x", 4)])
async def test_a_proxy_that_asks_for_credentials_is_not_retried(
    tmp_path: Path, status: str, attempts: int
) -> None:
    """A proxy's 407 ends the call; another refusal may pass."""
    files = Files(tmp_path)
    async with serving(files.server()) as (port, _), proxying(status) as (address, _):
        config = ClientConfig(proxy=f"http://{address}", retry=FAST, tls=TlsConfig())
        base_url = f"https://127.0.0.1:{port}"
        async with SpotBillingClient("t", base_url=base_url, config=config) as client:
            with pytest.raises(TransportError, match=f"answered {status[:3]}") as caught:
                await client.accounts.list()
    assert caught.value.attempts == attempts


PULL = """
import asyncio, json, logging, resource, sys
from datetime import date, timedelta
from spot_billing_async import ClientConfig, CostPlan, SpotBillingClient

class Lines(logging.Handler):
    lines = []
    def emit(self, record): self.lines.append(record.getMessage())

async def main(base_url, token, files):
    logging.getLogger("spot_billing_async").addHandler(Lines())
    days = [date(2024, 1, 1), date(2024, 1, 1) + timedelta(299)]
    config = ClientConfig(reuse_connections=sys.argv[4] == "kept")
    async with SpotBillingClient(token, base_url=base_url, config=config) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), 1024))
        async with client.costs.pull(CostPlan.build(["a1"], *days, "day")) as run:
            errors = [str(o.error) async for o in run if hasattr(o, "error")]
    fetched = run.report.ok + run.report.empty
    print(json.dumps([run.report.failed, fetched, errors[:3], Lines.lines]))

asyncio.run(main(*sys.argv[1:4]))
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("connections", ["kept", "new"])
def test_too_many_open_files_lower_the_concurrency(host: str, connections: str) -> None:
    """A process that may open a few files fetches every slice, and says so once."""
    with emulator_process("--latency", "5ms") as address:
        base_url = address.replace("127.0.0.1", host)
        command = [sys.executable, "-c", PULL, base_url, TOKEN, "16", connections]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT)  # noqa: S603  our own code
    failed, fetched, errors, lines = json.loads(done.stdout)
    assert (failed, fetched, errors) == (0, 300, [])
    assert len(lines) == 1, lines
    assert lines[0].startswith("too many open files: at most ")


async def test_the_concurrency_is_raised_again(caplog: pytest.LogCaptureFixture) -> None:
    """The lowered limit ends after some seconds, and is announced once only."""
    async with SpotBillingClient("t", base_url="http://127.0.0.1:9") as client:
        shared: SharedState = client._shared
        limit, loop = shared.admission.limit, asyncio.get_running_loop()
        assert not shared.lower_concurrency()  # nothing is in flight: an ordinary failure
        timers: list[tuple[object, ...]] = []
        for in_flight in (20, 19, 25):
            limit.in_flight = in_flight
            with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
                patch.setattr(loop, "call_later", lambda *timer: timers.append(timer))
                assert shared.lower_concurrency()
            assert limit.maximum == in_flight
            if in_flight == 19:
                (_, restore, *arguments) = timers[0]
                assert callable(restore)
                restore(*arguments)
                assert limit.maximum == 32
        assert len(timers) == 2
    assert [each.getMessage() for each in caplog.records] == [
        "too many open files: at most 20 requests at once"
    ]


@pytest.mark.parametrize("where", ["socket", "resolver"])
async def test_a_request_without_a_file_goes_out_after_another(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that finds too many files open waits for one in flight, without an attempt."""
    failed: list[str] = []
    arrived, connect = asyncio.Event(), aiohappyeyeballs.start_connection
    no_file = OSError(errno.EMFILE, "Too many open files")

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            arrived.set()
            await asyncio.sleep(0.05)
            writer.write(GOOD)

    async def without_a_file(*args: Any, **options: Any) -> Any:
        if arrived.is_set() and not failed:
            failed.append(where)
            raise no_file
        return await connect(*args, **options)

    async def unresolved(*_: object, **__: object) -> Any:
        failed.append(where)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def no_socket(*_: object, **__: object) -> None:
        raise no_file

    async with serve_streams(slow) as port:
        config = ClientConfig(retry=RetryPolicy(max_attempts=1))
        base_url = f"http://localhost:{port}"
        async with SpotBillingClient("t", base_url=base_url, config=config) as client:
            first = asyncio.create_task(client.accounts.list())
            await arrived.wait()
            if where == "socket":
                monkeypatch.setattr(aiohappyeyeballs, "start_connection", without_a_file)
            else:
                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unresolved)
                monkeypatch.setattr(
                    "spot_billing_async._core.http.transport.socket.socket", no_socket
                )
            assert await client.accounts.list() == []
            assert await first == []
    assert failed == [where]
