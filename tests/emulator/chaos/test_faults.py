"""Every kind of fault, met by a client that knows nothing but the socket."""

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
from spot_billing_async.emulator.chaos.faults import UNPERFORMED

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

FAMILY = "/billingEngine/family"
NEW = json.dumps({"family": {"name": "New", "accountIds": []}}).encode()


class Met(NamedTuple):
    """What came on a connection until it ended, how it ended, and if the server still listened."""

    received: bytes
    was_reset: bool
    still_listens: bool

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.received[9:12])

    @property
    def body(self) -> bytes:
        """What came after the headers."""
        return self.received.partition(b"\r\n\r\n")[2]

    @property
    def promised(self) -> int:
        """The Content-Length."""
        _, _, after = self.received.partition(b"Content-Length: ")
        return int(after.partition(b"\r\n")[0])


async def meet(server: Any, target: str = FAMILY, method: str = "GET", content: bytes = b"") -> Met:
    """One request on a connection of its own, and all that becomes of it."""
    host, port = server.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\n"
        f"Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    received, was_reset, still_listens = b"", False, False
    try:
        while piece := await reader.read(65536):
            received += piece
        writer.write(b"more")
        # What is sent to a socket that is gone comes back as an error.
        raw = writer.get_extra_info("socket")
        still_listens = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    except ConnectionResetError:
        was_reset = True
    writer.transport.abort()
    return Met(received, was_reset, still_listens)


def check_server_error(met: Met) -> None:
    assert met.status == 500
    assert json.loads(met.body)["response"]["errors"]


def check_bad_gateway(met: Met) -> None:
    assert met.status == 502
    assert met.body.startswith(b"<html>")


def check_reset_before(met: Met) -> None:
    assert met.was_reset
    assert met.received == b""


def check_reset_in_headers(met: Met) -> None:
    assert met.was_reset
    assert met.received.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" not in met.received


def check_reset_after_headers(met: Met) -> None:
    assert met.was_reset
    assert met.status == 200
    assert met.received.endswith(b"\r\n\r\n")
    assert met.promised > 0


def check_half_closed(met: Met) -> None:
    assert met.still_listens
    assert met.status == 200
    assert 0 < len(met.body) < met.promised


def check_cut_off(met: Met) -> None:
    assert not met.was_reset
    assert not met.still_listens
    assert met.status == 200
    assert len(met.body) == met.promised // 2


def check_wrong_count(met: Met) -> None:
    response = json.loads(met.body)["response"]
    assert met.status == 200
    assert len(met.body) == met.promised
    assert response["count"] == len(response["items"]) + 1 > 1


def check_slow_drip(met: Met) -> None:
    response = json.loads(met.body)["response"]
    assert met.status == 200
    assert len(met.body) == met.promised
    assert response["count"] == len(response["items"]) > 0


def check_garbage(met: Met) -> None:
    assert met.received
    assert b"HTTP/" not in met.received


def check_gzip_bomb(met: Met) -> None:
    assert met.status == 200
    assert b"Content-Encoding: gzip" in met.received
    assert len(met.body) == met.promised < 100_000
    assert gzip.decompress(met.body) == b" " * 2**26


CHECKS: dict[Fault, Callable[[Met], None]] = {
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
async def test_a_fault_is_what_it_is_called(
    serve: Serve, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Met on a socket, again and again, and side by side; the server stays quiet about it."""
    caplog.set_level(logging.INFO)
    before = asyncio.all_tasks()
    async with serve(faults=f"{fault.value}=1") as call:
        for met in [
            await meet(call.server),
            *await asyncio.gather(*(meet(call.server) for _ in range(5))),
        ]:
            CHECKS[fault](met)
    assert not caplog.records
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("fault", Fault)
async def test_what_a_fault_comes_before_is_not_performed(
    serve: Serve, bill: Bill, tmp_path: Path, fault: Fault
) -> None:
    """A POST is performed only where the fault spoils its answer or the way back."""
    kept = {"db": tmp_path / "state.db", "focus": [bill({})]}
    async with serve(faults=f"{fault.value}=1", **kept) as call:
        await meet(call.server, method="POST", content=NEW)
    async with serve(**kept) as call:
        families = (await call("GET", FAMILY)).items
    assert [family["name"] for family in families] == ([] if fault in UNPERFORMED else ["New"])


async def test_an_answer_without_a_count_can_not_be_miscounted(serve: Serve) -> None:
    """It becomes a server error."""
    async with serve(faults="wrong-count=1") as call:
        check_server_error(await meet(call.server, f"{FAMILY}/nowhere"))


async def test_a_half_closed_connection_is_let_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while the server ends it, though the client does not."""
    monkeypatch.setattr(faults, "_HALF_CLOSED_S", 0)
    async with serve(faults="half-closed=1") as call:
        host, port = call.server.base_url.removeprefix("http://").split(":")
        before = asyncio.all_tasks()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {FAMILY} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await reader.read()
        while asyncio.all_tasks() > before:  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0)
        writer.transport.abort()


async def test_answers_that_fail_tell_of_the_rate_limit(serve: Serve) -> None:
    """Its headers come with every answer, and a refused request meets faults like any other."""
    async with serve(faults="bad-gateway=1", rate_limit="1/60s") as call:
        for _ in range(2):
            met = await meet(call.server)
            check_bad_gateway(met)
            assert b"X-RateLimit-Remaining: 0" in met.received


async def test_the_same_seed_is_the_same_trace(serve: Serve) -> None:
    """What befalls a request does not depend on what comes before or beside it."""
    targets = [f"{FAMILY}/{number}" for number in range(40)]

    async def statuses(seed: int, *, together: bool) -> list[bytes]:
        plan = "server-error=0.2,bad-gateway=0.2,garbage=0.1"
        async with serve(faults=plan, seed=seed) as call:
            if together:
                found = await asyncio.gather(*(meet(call.server, path) for path in targets))
            else:
                found = [await meet(call.server, path) for path in reversed(targets)][::-1]
        return [met.received[:12] for met in found]

    one_by_one = await statuses(1, together=False)
    assert await statuses(1, together=True) == one_by_one
    assert await statuses(2, together=True) != one_by_one
    assert len(set(one_by_one)) == 4
