"""Faults of every kind, observed by a client on a bare socket."""

import asyncio
import gzip
import json
import logging
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from spot_billing_async.emulator import Fault, FaultPlan
from spot_billing_async.emulator.chaos import faults
from spot_billing_async.emulator.chaos.faults import FAULTS_BEFORE_EXECUTION

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

FAMILY = "/billingEngine/family"
NEW = json.dumps({"family": {"name": "New", "accountIds": []}}).encode()


class Exchange(NamedTuple):
    """Bytes received on a connection until its end, how it ended, and if the server still read."""

    received: bytes
    was_reset: bool
    still_reads: bool

    @property
    def status(self) -> int:
        """The HTTP status of the response."""
        return int(self.received[9:12])

    @property
    def body(self) -> bytes:
        """The received bytes after the headers."""
        return self.received.partition(b"\r\n\r\n")[2]

    @property
    def content_length(self) -> int:
        """The value of the Content-Length header."""
        _, _, after = self.received.partition(b"Content-Length: ")
        return int(after.partition(b"\r\n")[0])


async def send_request(
    server: Any, target: str = FAMILY, method: str = "GET", content: bytes = b""
) -> Exchange:
    """Send one request on a new connection, and read it to its end."""
    host, port = server.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\n"
        f"Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    received, was_reset, still_reads = b"", False, False
    try:
        while chunk := await reader.read(65536):
            received += chunk
        writer.write(b"more")
        # Sending to a connection that the server closed leaves an error on the socket.
        connection = writer.get_extra_info("socket")
        still_reads = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    except ConnectionResetError:
        was_reset = True
    writer.transport.abort()
    return Exchange(received, was_reset, still_reads)


def check_server_error(exchange: Exchange) -> None:
    assert exchange.status == 500
    assert json.loads(exchange.body)["response"]["errors"]


def check_bad_gateway(exchange: Exchange) -> None:
    assert exchange.status == 502
    assert exchange.body.startswith(b"<html>")


def check_reset_before(exchange: Exchange) -> None:
    assert exchange.was_reset
    assert exchange.received == b""


def check_reset_in_headers(exchange: Exchange) -> None:
    assert exchange.was_reset
    assert exchange.received.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" not in exchange.received


def check_reset_after_headers(exchange: Exchange) -> None:
    assert exchange.was_reset
    assert exchange.status == 200
    assert exchange.received.endswith(b"\r\n\r\n")
    assert exchange.content_length > 0


def check_half_closed(exchange: Exchange) -> None:
    assert exchange.still_reads
    assert exchange.status == 200
    assert 0 < len(exchange.body) < exchange.content_length


def check_cut_off(exchange: Exchange) -> None:
    assert not exchange.was_reset
    assert not exchange.still_reads
    assert exchange.status == 200
    assert len(exchange.body) == exchange.content_length // 2


def check_wrong_count(exchange: Exchange) -> None:
    response = json.loads(exchange.body)["response"]
    assert exchange.status == 200
    assert len(exchange.body) == exchange.content_length
    assert response["count"] == len(response["items"]) + 1 > 1


def check_slow_drip(exchange: Exchange) -> None:
    response = json.loads(exchange.body)["response"]
    assert exchange.status == 200
    assert len(exchange.body) == exchange.content_length
    assert response["count"] == len(response["items"]) > 0


def check_garbage(exchange: Exchange) -> None:
    assert exchange.received
    assert b"HTTP/" not in exchange.received


def check_gzip_bomb(exchange: Exchange) -> None:
    assert exchange.status == 200
    assert b"Content-Encoding: gzip" in exchange.received
    assert len(exchange.body) == exchange.content_length < 100_000
    assert gzip.decompress(exchange.body) == b" " * 2**26


CHECKS: dict[Fault, Callable[[Exchange], None]] = {
    Fault.SERVER_ERROR: check_server_error,
    Fault.BAD_GATEWAY: check_bad_gateway,
    Fault.RESET_BEFORE: check_reset_before,
    Fault.RESET_IN_HEADERS: check_reset_in_headers,
    Fault.RESET_AFTER_HEADERS: check_reset_after_headers,
    Fault.HALF_CLOSED: check_half_closed,
    Fault.CUT_OFF: check_cut_off,
    Fault.WRONG_COUNT: check_wrong_count,
    Fault.SLOW_DRIP: check_slow_drip,
    Fault.GARBAGE: check_garbage,
    Fault.GZIP_BOMB: check_gzip_bomb,
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_DRIP_PAUSE_S", 0)


@pytest.mark.parametrize("fault", FaultPlan.even(1).shares)
async def test_each_fault_does_what_its_name_says(
    serve: Serve, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Each fault shows on the socket, in sequential and concurrent requests, and logs nothing."""
    caplog.set_level(logging.INFO)
    tasks_before = asyncio.all_tasks()
    async with serve(faults=f"{fault.value}=1") as call:
        for exchange in [
            await send_request(call.server),
            *await asyncio.gather(*(send_request(call.server) for _ in range(5))),
        ]:
            CHECKS[fault](exchange)
    assert not caplog.records
    assert asyncio.all_tasks() == tasks_before


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_before_execution_prevents_the_operation(
    serve: Serve, bill: Bill, tmp_path: Path, fault: Fault
) -> None:
    """A POST is executed only if the fault affects its response or the delivery."""
    state = {"db": tmp_path / "state.db", "focus": [bill({})]}
    async with serve(faults=f"{fault.value}=1", **state) as call:
        await send_request(call.server, method="POST", content=NEW)
    async with serve(**state) as call:
        families = (await call("GET", FAMILY)).items
    assert [family["name"] for family in families] == (
        [] if fault in FAULTS_BEFORE_EXECUTION else ["New"]
    )


async def test_wrong_count_of_an_error_response(serve: Serve) -> None:
    """A response without a count becomes a server error."""
    async with serve(faults="wrong-count=1") as call:
        check_server_error(await send_request(call.server, f"{FAMILY}/nowhere"))


async def test_a_half_closed_connection_is_closed_later(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes a half-closed connection after a while, even if the client does not."""
    monkeypatch.setattr(faults, "_HALF_CLOSED_S", 0)
    async with serve(faults="half-closed=1") as call:
        host, port = call.server.base_url.removeprefix("http://").split(":")
        tasks_before = asyncio.all_tasks()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {FAMILY} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await reader.read()
        while asyncio.all_tasks() > tasks_before:  # noqa: ASYNC110  the server has no event to wait for
            await asyncio.sleep(0)
        writer.transport.abort()


async def test_faulty_responses_have_rate_limit_headers(serve: Serve) -> None:
    """Every response has the headers, and a refused request gets faults like any other."""
    async with serve(faults="bad-gateway=1", rate_limit="1/60s") as call:
        for _ in range(2):
            exchange = await send_request(call.server)
            check_bad_gateway(exchange)
            assert b"X-RateLimit-Remaining: 0" in exchange.received


async def test_the_same_seed_gives_the_same_faults(serve: Serve) -> None:
    """The fault of a request does not depend on earlier or concurrent requests."""
    targets = [f"{FAMILY}/{number}" for number in range(40)]

    async def statuses(seed: int, *, concurrent: bool) -> list[bytes]:
        plan = "server-error=0.2,bad-gateway=0.2,garbage=0.1"
        async with serve(faults=plan, seed=seed) as call:
            if concurrent:
                exchanges = await asyncio.gather(
                    *(send_request(call.server, path) for path in targets)
                )
            else:
                exchanges = [await send_request(call.server, path) for path in reversed(targets)][
                    ::-1
                ]
        return [exchange.received[:12] for exchange in exchanges]

    sequential = await statuses(1, concurrent=False)
    assert await statuses(1, concurrent=True) == sequential
    assert await statuses(2, concurrent=True) != sequential
    assert len(set(sequential)) == 4
