"""HTTP server of the emulator: options, start and stop, authentication, error handling."""

import asyncio
import hmac
import logging
import secrets
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import anyio
from aiohttp import web

from spot_billing_async.emulator.api.routes import Api
from spot_billing_async.emulator.chaos.middleware import ChaosMiddleware, Handler
from spot_billing_async.emulator.chaos.randomness import FaultPlan, Latency
from spot_billing_async.emulator.chaos.rate_limit import RateLimit
from spot_billing_async.emulator.connection import Connection
from spot_billing_async.emulator.data import ledger, sample
from spot_billing_async.emulator.data.database import Cursor, Database, DatabaseError
from spot_billing_async.emulator.hosts import is_allowed_host, is_loopback, normalized
from spot_billing_async.emulator.options import check_options, parse_chaos_settings
from spot_billing_async.emulator.responses import (
    ApiProblem,
    ErrorDetail,
    internal_error,
    problem_response,
)

_log = logging.getLogger("spot_billing_async.emulator")

# Time for requests in flight to finish when the server stops. aiohttp takes 0 as no limit.
_SHUTDOWN_TIMEOUT_S = 0.01

_NOT_RUNNING = "the emulator runs only inside its 'async with' block"


class Emulator:
    """HTTP server of the API over FOCUS exports; it runs inside its `async with` block.

    Args:
        focus: FOCUS exports to serve: .csv, .csv.gz, .parquet. If none is given and `db` is empty,
            the server uses built-in sample data.
        token: the only bearer token that is accepted; None generates one, see `Emulator.token`.
        host: the address to listen on. A server that listens on loopback only refuses, with a 403,
            requests whose Host header is not a loopback name or address: a web page could send
            them through a name of its own (DNS rebinding).
        port: the port to listen on; 0 selects a free one.
        allow_host: further host names, without ports, that such a server accepts.
        buckets: the folder whose subfolders setup calls link as buckets; None for no buckets.
        db: the DuckDB file that keeps the ledger, accounts, setups and families across runs; None
            keeps them in memory.
        page_size: items per page, for all lists; None returns each list in one page.
        total_count: whether pages contain the total number of items.
        max_rows: maximum number of rows of a cost query, all pages together; a query with more is
            refused with a 413. None for no limit.
        rate_limit: requests in a sliding window, per route and method, such as '100/60s'; None for
            no limit.
        rate_limit_headers: whether responses have rate-limit headers; without them, a client learns
            of the limit from 429s only.
        other_consumer: the share of each window, 0 to 1, that another consumer of the same
            organization uses up, in one burst per window.
        capacity: how many requests are processed at once. More requests wait in order; beyond four
            times as many in total they are refused with a 503. None for no limit.
        latency: additional processing time of a request, such as '50ms±20ms', uniformly
            distributed; None for none.
        faults: the share of all requests with a fault, 0 to 1: 0.05 for all kinds that a client can
            detect, or shares per kind such as 'reset-before=0.02,gzip-bomb=0.01'. `Fault` lists the
            kinds; wrong answers and misdelivered ones occur only if they are named.
        seed: the seed of latency, faults and the other consumer's bursts. With the same seed a
            request gets the same latency and fault, independently of other requests; requests with
            the same method, path and query are distinguished by their order.

    Attributes:
        token: the bearer token.
        requests: the number of requests received so far.
        under_way: the number of requests in flight.
        abandoned: the number of requests that were cancelled because the client disconnected.

    The constructor raises ValueError if an option is invalid.

    Entering the block raises:
        FocusError: a file cannot be read exactly and completely.
        DatabaseError: the database cannot be used.
        OSError: the server cannot listen on the address.
    """

    def __init__(
        self,
        *,
        focus: Sequence[str | Path] = (),
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        allow_host: Sequence[str] = (),
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
            host=host,
            port=port,
            allow_host=allow_host,
            page_size=page_size,
            total_count=total_count,
            max_rows=max_rows,
        )
        self._chaos_settings = parse_chaos_settings(
            rate_limit=rate_limit,
            rate_limit_headers=rate_limit_headers,
            other_consumer=other_consumer,
            capacity=capacity,
            latency=latency,
            faults=faults,
            seed=seed,
        )
        self.token: str = secrets.token_urlsafe(24) if token is None else token
        self.requests: int = 0
        self.under_way: int = 0
        self.abandoned: int = 0
        self._focus = [Path(path) for path in focus]
        self._address = (host, port)
        self._hosts = frozenset(normalized(name) for name in (host, *allow_host))
        self._is_loopback: bool = False
        self._buckets = buckets
        self._db = db
        self._page_size = page_size
        self._total_count = total_count
        self._max_rows = max_rows
        self._base_url: str | None = None
        self._database: Database | None = None
        self._exit_stack = AsyncExitStack()

    @property
    def base_url(self) -> str:
        """The URL of the server, `http://host:port`.

        Raises:
            RuntimeError: the server is not running.
        """
        if self._base_url is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._base_url

    async def ledger_totals(self) -> dict[str, Decimal]:
        """Return the exact sum of all ingested costs, by currency.

        Raises:
            RuntimeError: the server is not running.
        """
        return await self._running_database().read(ledger.totals)

    async def account_ids(self) -> list[str]:
        """Return the ids of all accounts that have costs, in order.

        Raises:
            RuntimeError: the server is not running.
        """
        accounts = partial(ledger.accounts, account_id=None)
        return [row["accountId"] for row in await self._running_database().read(accounts)]

    def _running_database(self) -> Database:
        if self._database is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._database

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
        self._base_url = self._database = None
        # Shielded: threads and file are released even if the block was cancelled.
        with anyio.CancelScope(shield=True):
            await self._exit_stack.aclose()

    async def _start(self) -> None:
        # Closed in reverse order: first the listener, then the requests, then the database.
        stack = self._exit_stack
        database = await anyio.to_thread.run_sync(Database, self._db)
        stack.push_async_callback(anyio.to_thread.run_sync, database.close)
        await database.write(self._load)
        runner = web.AppRunner(
            self._application(database),
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            handler_cancellation=True,  # a client that disconnects cancels its request
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        server = cast("web.Server", runner.server)  # not None after setup
        host, port = self._address
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(partial(Connection, server), host, port)
        stack.callback(listener.close)
        names = [str(each.getsockname()[0]) for each in listener.sockets]
        self._is_loopback = all(is_loopback(name) for name in names)
        url_host = f"[{host}]" if ":" in host else host
        self._base_url = f"http://{url_host}:{listener.sockets[0].getsockname()[1]}"
        self._database = database

    def _load(self, cursor: Cursor) -> None:
        if self._focus and sample.is_loaded(cursor):
            raise DatabaseError(
                f"{self._db} contains the sample data; use another file for FOCUS exports"
            )
        for path in self._focus:
            ledger.ingest(cursor, path)
        if ledger.is_empty(cursor):
            sample.load(cursor)

    def _application(self, database: Database) -> web.Application:
        # The outermost comes first. Error responses pass through chaos, as it disturbs these too.
        chaos = ChaosMiddleware(self._chaos_settings, self._identify)
        application = web.Application(
            middlewares=[
                self._count_requests,
                self._check_host,
                chaos.handle,
                self._handle_errors,
            ]
        )
        api = Api(
            database,
            self._buckets,
            self._page_size,
            total_count=self._total_count,
            max_rows=self._max_rows,
        )
        api.add_routes(application.router)
        return application

    @web.middleware
    async def _count_requests(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        self.under_way += 1
        connection = cast("Connection", request.protocol)
        connection.head_received(request)
        try:
            return await handler(request)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.under_way -= 1
            connection.answered()

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a request for another host than this one, before any other answer to it."""
        for host in request.headers.getall("Host", ()) if self._is_loopback else ():
            if not is_allowed_host(host, self._hosts):
                allowed = "a loopback name or address, or a name of --allow-host"
                # repr, because the header may contain lone surrogates, which JSON cannot encode.
                message = f"must be {allowed}, got {host!r}"
                detail = ErrorDetail("header.Host", message, "Forbidden")
                return problem_response(request, ApiProblem(HTTPStatus.FORBIDDEN, [detail]))
        return await handler(request)

    @web.middleware
    async def _handle_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate the caller, and answer all errors, also aiohttp's own, in the envelope."""
        if not self._identify(request):
            detail = ErrorDetail(
                "header.Authorization", "a valid bearer token is required", "Unauthorized"
            )
            headers = {"WWW-Authenticate": "Bearer"}
            problem = ApiProblem(HTTPStatus.UNAUTHORIZED, [detail], headers)
            return problem_response(request, problem)
        try:
            return await handler(request)
        except ApiProblem as refusal:
            return problem_response(request, refusal)
        except web.HTTPException as error:
            status = HTTPStatus(error.status)
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            code = status.phrase.title().replace(" ", "")
            detail = ErrorDetail(None, status.phrase, code)
            return problem_response(request, ApiProblem(status, [detail], allow))
        except Exception:  # noqa: BLE001  logged here, and answered with a 500
            _log.exception("a request failed: %s %r", request.method, request.rel_url.raw_path)
            return internal_error(request)

    def _identify(self, request: web.Request) -> str:
        """Return the caller: 'owner' for the accepted token, otherwise an empty text."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # aiohttp decodes bytes that are not UTF-8 to surrogates, which `encode` would reject.
        sent = given.strip().encode(errors="surrogateescape")
        # In constant time, so that the time of a response reveals no part of the token.
        is_accepted = hmac.compare_digest(sent, self.token.encode())
        return "owner" if is_accepted and scheme.lower() == "bearer" else ""
