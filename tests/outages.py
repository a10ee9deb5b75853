"""Server that goes away in the middle of a pull, and what the pull makes of it."""

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal, get_args
from urllib.parse import parse_qs

import trustme

from spot_billing_async import (
    ClientConfig,
    CostPlan,
    CostQuery,
    Failed,
    PullReport,
    SpotBillingClient,
    TlsConfig,
)
from spot_billing_async.telemetry import AvailabilityChanged, Event, RequestEnded
from tests.support import http

Kind = Literal["refused", "reset", "silent", "500", "502", "503", "503 wait", "tls"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TOKEN = "not-a-real-token"
GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD","date":"%b"}],"count":1}}'
HTML = b"<html><body>Bad Gateway</body></html>"
ERRORS: dict[str, bytes] = {
    "500": http(b"", status="500 Internal Server Error"),
    "502": http(HTML, "Content-Type: text/html", status="502 Bad Gateway"),
    "503": http(b"", status="503 Service Unavailable"),
    "503 wait": http(b"", "Retry-After: 1", status="503 Service Unavailable"),
}
DAY = date(2025, 1, 1)


@dataclass
class FailingServer:
    """Server that is away for some seconds, from its n-th request on.

    Attributes:
        kind: how it fails meanwhile.
        away_s: seconds that it is away.
        first: number of the request at which it goes away.
        broken: accounts whose queries it always answers with 500, after 5 ms.
        latency_s: seconds that an answer takes otherwise.
        most_days: longest window that it answers; with 500 to others.
        began_s: when it went away; None before.
        ended_s: when it came back.
        seen: number of requests received.
        went_away: set when it goes away.
    """

    kind: Kind
    away_s: float
    first: int
    broken: frozenset[str] = frozenset()
    latency_s: float = 0.02
    most_days: int = 10_000
    began_s: float | None = None
    ended_s: float = 0.0
    seen: int = 0
    went_away: asyncio.Event = field(default_factory=asyncio.Event)
    _port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tls: ssl.SSLContext | None = None
    _back: asyncio.Event = field(default_factory=asyncio.Event)
    _timers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def is_away(self) -> bool:
        """True while the server is away."""
        return self.began_s is not None and not self._back.is_set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve until the block ends; yield the base URL."""
        if self.kind == "tls":
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            AUTHORITY.issue_cert("localhost").configure_cert(self._tls)
        await self._listen()
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        try:
            yield f"{scheme}://{host}:{self._port}"
        finally:
            for timer in self._timers:
                timer.cancel()
            self._close()

    async def _listen(self) -> None:
        is_away = self.is_away  # without TLS: each handshake fails
        self._server = await asyncio.start_server(
            self._refused if is_away else self._connected,
            "127.0.0.1",
            self._port,
            ssl=None if is_away else self._tls,
            backlog=512,
        )
        self._port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _go_away(self) -> None:
        if self.kind in {"refused", "tls"}:
            self._close()
        if self.kind == "tls":
            await self._listen()
        elif self.kind == "reset":
            for writer in self._writers:
                writer.transport.abort()
        await asyncio.sleep(self.away_s)
        if self.kind in {"refused", "tls"}:
            self._close()
            self._back.set()
            await self._listen()
        self.ended_s = time.monotonic()
        self._back.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.is_away and self.kind == "reset":
                return
            while await self._answered(await reader.readuntil(b"\r\n\r\n"), writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _refused(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS\r\n")
        writer.close()

    async def _answered(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        self.seen += 1
        if self.seen == self.first:
            self.began_s = time.monotonic()
            self.went_away.set()
            self._timers.append(asyncio.create_task(self._go_away()))
            await asyncio.sleep(0)
        if self.is_away and self.kind == "silent":
            await self._back.wait()
            return False
        if self.is_away and self.kind in ERRORS:
            await asyncio.sleep(0.001)
            writer.write(ERRORS[self.kind])
            return True
        if self.is_away:
            return False
        query = parse_qs(head.split(b" ", 2)[1].partition(b"?")[2])
        first, last = (
            date.fromisoformat(query[name][0].decode()) for name in (b"fromDate", b"toDate")
        )
        is_too_wide = (last - first).days >= self.most_days
        is_broken = is_too_wide or query[b"accountId"][0].decode() in self.broken
        await asyncio.sleep(0.005 if is_broken else self.latency_s)
        writer.write(ERRORS["500"] if is_broken else http(GOOD % query[b"fromDate"][0]))
        return True


AUTHORITY = trustme.CA()


@dataclass
class Result:
    """Outcome of a pull through an outage.

    Attributes:
        report: the pull's report.
        failed: the failed slices.
        sent_while_away: requests that were sent between the beginning and the end of the outage.
        late_s: seconds from the end of the outage until the pull was as fast as before.
        tries: events of the outage.
    """

    report: PullReport
    failed: list[Failed]
    sent_while_away: int
    late_s: float
    tries: list[AvailabilityChanged]


def plan_of(slices: int) -> CostPlan:
    """Return a plan of one slice per account."""
    return CostPlan.build([f"a{n}" for n in range(slices)], DAY, DAY, "whole")


async def pull(
    server: FailingServer,
    plan: CostPlan | list[CostQuery],
    **limits: float,
) -> Result:
    """Pull a plan from a server that goes away meanwhile."""
    ends: list[tuple[float, float, str | None]] = []
    tries: list[AvailabilityChanged] = []

    def hook(event: Event) -> None:
        if isinstance(event, RequestEnded):
            ends.append((event.started_s, event.started_s + event.elapsed_s, event.error))
        elif isinstance(event, AvailabilityChanged):
            tries.append(event)

    async with server.serving() as base_url:
        tls: TlsConfig | ssl.SSLContext = TlsConfig()
        if server.kind == "tls":
            tls = ssl.create_default_context()
            AUTHORITY.configure_trust(tls)
        config = ClientConfig(tls=tls, **limits)  # type: ignore[arg-type]  # by name, checked there
        async with (
            SpotBillingClient(TOKEN, base_url=base_url, config=config, hook=hook) as client,
            client.costs.pull(plan) as run,
        ):
            failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
    began_s = server.began_s or 0.0
    sent = sum(began_s < started_s < server.ended_s for started_s, _, _ in ends)
    return Result(run.report, failed, sent, _late_s(ends, began_s, server.ended_s), tries)


def _late_s(ends: list[tuple[float, float, str | None]], began_s: float, ended_s: float) -> float:
    """Return the time until 32 answers in succession came as fast as the last 128 before."""
    good = sorted(at for _, at, error in ends if error is None)
    before = [at for at in good if at < began_s][-128:]
    after = [at for at in good if at > ended_s]
    if len(before) < 64 or len(after) < 64:
        return after[-1] - ended_s if after else 0.0
    allowed_s = 1.25 * 32 * (before[-1] - before[0]) / len(before)
    window: deque[float] = deque(maxlen=32)
    for at in after:
        window.append(at)
        if len(window) == 32 and at - window[0] <= allowed_s:
            return window[0] - ended_s
    return after[-1] - ended_s


def broken_plan(good: int, broken: int, windows: int) -> list[CostQuery]:
    """Return slices of some broken accounts `b…`, then of good ones, each of `windows` days."""
    days = [DAY + timedelta(days=n) for n in range(windows)]
    accounts = [f"b{n}" for n in range(broken)] + [f"a{n}" for n in range(good)]
    return [
        CostQuery(account_id=each, from_date=day, to_date=day) for each in accounts for day in days
    ]
