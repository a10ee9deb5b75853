"""The emulator as a server on a socket: what it is made of, how it starts, how it stops."""

import asyncio
import hmac
import logging
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import anyio
from aiohttp import web

from spot_billing_async.emulator.api.routes import Api
from spot_billing_async.emulator.chaos.middleware import Conditions
from spot_billing_async.emulator.chaos.randomness import FaultPlan, Latency
from spot_billing_async.emulator.chaos.rate_limit import RateLimit
from spot_billing_async.emulator.data import ledger, sample
from spot_billing_async.emulator.data.database import Cursor, DatabaseError, Store
from spot_billing_async.emulator.options import check_options, read_terms
from spot_billing_async.emulator.responses import Entry, Refused, refusal

_log = logging.getLogger("spot_billing_async.emulator")

# How long running requests may go on once the server stops. Not 0, which aiohttp takes as forever.
_GRACE_S = 0.01

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Protocol(web.RequestHandler):
    """aiohttp's, but for bytes that are no HTTP request: those are answered in the envelope too.

    aiohttp would also log them, and with them whatever token they hold.
    """

    __slots__ = ()

    def __init__(self, manager: web.Server) -> None:
        loop = asyncio.get_running_loop()
        # aiohttp takes None for no access log, but its types do not say so.
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]  # None turns the log off

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401  as aiohttp has it
        """Log what went wrong, but not what aiohttp trips over where it breaks off a request.

        When the time to end runs out just as a request is done, it tells a waiter that has left.
        """
        if not isinstance(sys.exc_info()[1], asyncio.InvalidStateError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it may quote what came
    ) -> web.StreamResponse:
        """The answer to a request that never became one."""
        if request.writer.output_size:
            raise ConnectionError("an answer has begun, and can't become another") from exc
        entry = Entry(None, "this is not an HTTP request that can be read", "BadRequest")
        answer = refusal(request, Refused(HTTPStatus(status), [entry]))
        answer.force_close()
        return answer


class Emulator:
    """The API served over FOCUS exports, for as long as its `async with` block lasts.

    Args:
        focus: FOCUS exports to serve: .csv, .csv.gz, .parquet. With none given and nothing in `db`,
            it serves a sample of its own.
        token: the one bearer token it accepts; None makes one up, to be read from `token`.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        buckets: the folder whose folders setup calls link as buckets; None for no buckets.
        db: the DuckDB file that keeps ledger, accounts, setups and families, those of earlier runs
            too; None forgets them.
        page_size: items a page, for all lists; None answers whole.
        total_count: whether pages say how many items there are in all.
        max_rows: rows that a query for costs may find, all pages together; one that finds more is
            refused with a 413. None for any number.
        rate_limit: requests in a sliding window, by route and method, such as '100/60s'; None for
            no limit.
        rate_limit_headers: whether answers tell of the limit; False leaves clients with 429s only.
        other_consumer: the share of each window, 0 to 1, that another consumer of the same
            organization uses up, in one burst each window.
        capacity: how many requests are worked on at once. More of them wait in order; those beyond
            four times as many in all are refused with a 503. None for no end.
        latency: how long the work on a request takes, such as '50ms±20ms', evenly spread; None for
            no longer than it takes.
        faults: what goes wrong with requests, as a share of all, 0 to 1: of all kinds as 0.05, or
            of some as 'reset-before=0.02,gzip-bomb=0.01'. `Fault` lists the kinds; those of them
            that are lies come only where they are named.
        seed: makes latency and faults, and when the other consumer comes. With the same seed the
            same befalls a request, whatever others come in between; only requests with the same
            method, path and query are told apart by their order.

    Attributes:
        token: the bearer token.
        requests: how many requests came so far, whatever became of them.
        under_way: how many of them have no answer yet.
        abandoned: how many of them were broken off before the answer, as their callers left.

    Constructing it raises ValueError: the token is empty, or an option is out of its range.

    Entering the block raises:
        FocusError: a file can't be read exactly and completely.
        DatabaseError: the database can't be used.
        OSError: the address can't be listened on.
    """

    def __init__(
        self,
        *,
        focus: Sequence[str | Path] = (),
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        buckets: Path | None = None,
        db: Path | None = None,
        page_size: int | None = None,
        total_count: bool = True,
        max_rows: int | None = None,
        rate_limit: RateLimit | str | None = None,
        rate_limit_headers: bool = True,
        other_consumer: float = 0,
        capacity: int | None = None,
        latency: Latency | str | None = None,
        faults: FaultPlan | str | float = 0,
        seed: int = 0,
    ) -> None:
        check_options(
            token=token,
            port=port,
            page_size=page_size,
            total_count=total_count,
            max_rows=max_rows,
        )
        self._terms = read_terms(
            rate_limit=rate_limit,
            rate_limit_headers=rate_limit_headers,
            other_consumer=other_consumer,
            capacity=capacity,
            latency=latency,
            faults=faults,
            seed=seed,
        )
        self.token = secrets.token_urlsafe(24) if token is None else token
        self.requests = self.under_way = self.abandoned = 0
        self._focus = [Path(path) for path in focus]
        self._address = (host, port)
        self._buckets = buckets
        self._db = db
        self._page_size = page_size
        self._total_count = total_count
        self._max_rows = max_rows
        self._base_url: str | None = None
        self._store: Store | None = None
        self._exit = AsyncExitStack()

    @property
    def base_url(self) -> str:
        """`http://host:port`; only within the block.

        Raises:
            RuntimeError: the server is not running.
        """
        if self._base_url is None:
            raise RuntimeError("the emulator runs only within its 'async with' block")
        return self._base_url

    async def ledger_totals(self) -> dict[str, Decimal]:
        """The exact sum of everything ingested, by currency; only within the block.

        Raises:
            RuntimeError: the server is not running.
        """
        return await self._running_store().read(ledger.totals)

    async def account_ids(self) -> list[str]:
        """The accounts that it has costs of, in order; only within the block.

        Raises:
            RuntimeError: the server is not running.
        """
        accounts = partial(ledger.accounts, account_id=None)
        return [row["accountId"] for row in await self._running_store().read(accounts)]

    def _running_store(self) -> Store:
        if self._store is None:
            raise RuntimeError("the emulator runs only within its 'async with' block")
        return self._store

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._base_url = self._store = None
        with anyio.CancelScope(shield=True):
            await self._exit.aclose()

    async def _start(self) -> None:
        opened = self._exit
        store = await anyio.to_thread.run_sync(Store, self._db)
        opened.push_async_callback(anyio.to_thread.run_sync, store.close)
        await store.write(self._load)
        runner = web.AppRunner(
            self._application(store),
            shutdown_timeout=_GRACE_S,
            handler_cancellation=True,  # who has left waits for nothing
        )
        await runner.setup()
        opened.push_async_callback(runner.cleanup)
        server = cast("web.Server", runner.server)  # there is one after setup
        host, port = self._address
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(partial(_Protocol, server), host, port)
        opened.callback(listening.close)
        url_host = f"[{host}]" if ":" in host else host
        self._base_url = f"http://{url_host}:{listening.sockets[0].getsockname()[1]}"
        self._store = store

    def _load(self, cursor: Cursor) -> None:
        if self._focus and sample.is_loaded(cursor):
            raise DatabaseError(f"{self._db} holds the sample: take another file for real exports")
        for path in self._focus:
            ledger.ingest(cursor, path)
        if ledger.is_empty(cursor):
            sample.load(cursor)

    def _application(self, store: Store) -> web.Application:
        conditions = Conditions(self._terms, self._caller)
        application = web.Application(
            middlewares=[
                self._counted,
                conditions.pass_through,
                _in_envelope,
                self._authenticated,
            ]
        )
        api = Api(
            store,
            self._buckets,
            self._page_size,
            total_count=self._total_count,
            max_rows=self._max_rows,
        )
        api.add_routes(application.router)
        return application

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        self.under_way += 1
        try:
            return await handler(request)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.under_way -= 1

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._caller(request):
            entry = Entry("header.Authorization", "a good bearer token is required", "Unauthorized")
            raise Refused(HTTPStatus.UNAUTHORIZED, [entry], {"WWW-Authenticate": "Bearer"})
        return await handler(request)

    def _caller(self, request: web.Request) -> str:
        """Who asks: the owner of the token, or nobody (an empty text)."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        sent = given.strip().encode(errors="surrogateescape")
        good = hmac.compare_digest(sent, self.token.encode())
        return "owner" if good and scheme.lower() == "bearer" else ""


@web.middleware
async def _in_envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer whatever goes wrong in the envelope, aiohttp's own refusals included."""
    try:
        return await handler(request)
    except Refused as refused:
        return refusal(request, refused)
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        code = status.phrase.title().replace(" ", "")
        return refusal(request, Refused(status, [Entry(None, status.phrase, code)], headers))
    except Exception:  # noqa: BLE001 - logged, and told as a 500 in the envelope
        _log.exception("a request failed: %s %s", request.method, request.rel_url.raw_path)
        entry = Entry(None, "An unknown error occurred", None)
        return refusal(request, Refused(HTTPStatus.INTERNAL_SERVER_ERROR, [entry]))
