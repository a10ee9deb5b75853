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
from typing import Any, Self, cast

import anyio
from aiohttp import web

from spot_billing_async.emulator.api.routes import Api
from spot_billing_async.emulator.chaos.middleware import ChaosMiddleware, Handler
from spot_billing_async.emulator.chaos.randomness import FaultPlan, Latency
from spot_billing_async.emulator.chaos.rate_limit import RateLimit
from spot_billing_async.emulator.data import ledger, sample
from spot_billing_async.emulator.data.database import Cursor, Database, DatabaseError
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


class _Protocol(web.RequestHandler):
    """Protocol handler of aiohttp that answers malformed requests in the envelope.

    It does not log them, as aiohttp would: they may contain a token.
    """

    __slots__ = ()

    def __init__(self, manager: web.Server) -> None:
        loop = asyncio.get_running_loop()
        # None turns the access log off, although aiohttp's types do not allow it.
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]  # see above

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401  as aiohttp has it
        """Log an error, except a race in aiohttp's shutdown.

        If the shutdown timeout ends just as a request completes, aiohttp sets the result of a
        future that is already done.
        """
        if not isinstance(sys.exc_info()[1], asyncio.InvalidStateError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it may quote the request
    ) -> web.StreamResponse:
        """Return the response to a malformed request."""
        # A second response would be read as part of the body of the first.
        if request.writer.output_size:
            raise ConnectionError("the response has already been started") from exc
        detail = ErrorDetail(None, "malformed HTTP request", "BadRequest")
        response = problem_response(request, ApiProblem(HTTPStatus(status), [detail]))
        response.force_close()
        return response


class Emulator:
    """HTTP server of the API over FOCUS exports; it runs inside its `async with` block.

    Args:
        focus: FOCUS exports to serve: .csv, .csv.gz, .parquet. If none is given and `db` is empty,
            the server uses built-in sample data.
        token: the only bearer token that is accepted; None generates one, see `Emulator.token`.
        host: the address to listen on.
        port: the port to listen on; 0 selects a free one.
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
            kinds; those that are wrong answers occur only if they are named.
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
        listener = await loop.create_server(partial(_Protocol, server), host, port)
        stack.callback(listener.close)
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
            middlewares=[self._count_requests, chaos.handle, self._handle_errors]
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
        try:
            return await handler(request)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.under_way -= 1

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
