"""The eleven operations of the contract: parse a request, execute it, return a page of items."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread
from aiohttp import web

from spot_billing_async.emulator.api import buckets, parameters, registry
from spot_billing_async.emulator.chaos.wrong_answers import WRONG_ANSWER, apply_wrong_answer
from spot_billing_async.emulator.data import ledger
from spot_billing_async.emulator.data.database import Cursor, Database
from spot_billing_async.emulator.data.focus import FocusError
from spot_billing_async.emulator.responses import (
    ApiProblem,
    ErrorDetail,
    ItemPage,
    encode_page,
    json_response,
    not_found,
)

_MAX_ROWS_ON_LOOP = 500
"""Rows of a page that is encoded on the event loop; larger pages take milliseconds, in a thread."""

_MAX_CACHED_ROWS = 20_000
"""Rows of a cost query over all days that are cached, to answer queries for any of the days.

A bulk pull repeats the same query for other days, and a query of the database takes milliseconds.
"""

_ENGINE, _INTELLIGENCE = "billingEngine", "costIntelligence"


class Result(NamedTuple):
    """Rows found by an operation, with a function that converts a row of the page to an item."""

    rows: Sequence[Any]
    to_item: Callable[[Any], Any] = dict


OperationHandler = Callable[[web.Request], Awaitable[Result]]


class Api:
    """Handlers of all operations.

    Args:
        database: the state that the operations read and change.
        root: the folder whose subfolders are buckets; None for no buckets.
        page_size: items per page; None returns each list in one page.
        total_count: whether pages contain the total number of items.
        max_rows: maximum number of rows of a cost query, all pages together; None for no limit.
    """

    def __init__(
        self,
        database: Database,
        root: Path | None,
        page_size: int | None,
        *,
        total_count: bool,
        max_rows: int | None,
    ) -> None:
        self._database = database
        self._root = root
        self._page_size = page_size
        self._total_count = total_count
        self._max_rows = max_rows

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the operations; the kind in the last column names the items in the envelope."""
        family = "/billingEngine/family/{familyId}"
        routes: tuple[tuple[str, str, OperationHandler, str], ...] = (
            ("GET", "/billingEngine/account", self.list_accounts, "account"),
            ("GET", "/billingEngine/cost", self.get_costs, "cost"),
            ("POST", "/billingEngine/setup", self.set_up_billing_engine, "setup"),
            (
                "POST",
                "/billingEngine/setup/validation",
                self.validate_billing_engine,
                "validation",
            ),
            ("POST", "/billingEngine/family", self.create_family, "family"),
            ("GET", "/billingEngine/family", self.list_families, "family"),
            ("GET", family, self.get_family, "family"),
            ("PUT", family, self.update_family, "family"),
            ("DELETE", family, self.delete_family, "family"),
            ("POST", "/costIntelligence/setup", self.set_up_cost_intelligence, "setup"),
            (
                "POST",
                "/costIntelligence/setup/validation",
                self.validate_cost_intelligence,
                "validation",
            ),
        )
        for method, path, operation, kind in routes:
            product = path.split("/")[1]
            router.add_route(method, path, partial(self._serve, f"{product}:{kind}", operation))

    async def _serve(
        self, kind: str, operation: OperationHandler, request: web.Request
    ) -> web.StreamResponse:
        result = await operation(request)
        page = self._select_page(request, result.rows)

        def encode() -> bytes:
            items = [result.to_item(row) for row in page.items]
            return encode_page(request, kind, page._replace(items=items))

        is_large = len(page.items) >= _MAX_ROWS_ON_LOOP
        return json_response(await anyio.to_thread.run_sync(encode) if is_large else encode())

    def _select_page(self, request: web.Request, rows: Sequence[Any]) -> ItemPage:
        """Return the requested page of the rows, changed by the request's wrong answer if any."""
        size, start, page = self._page_size, 0, ItemPage(rows)
        if size is not None:
            start = parameters.parse_page_start(_query(request), len(rows), size)
            after = start + size
            info: dict[str, int | str | None] = (
                {"totalCount": len(rows)} if self._total_count else {}
            )
            info["nextKey"] = str(after) if after < len(rows) else None
            info["previousKey"] = str(start - size) if start > size else None
            page = ItemPage(rows[start:after], info)
        wrong = request.get(WRONG_ANSWER) if request.method == "GET" else None
        return page if wrong is None else apply_wrong_answer(wrong, page, rows, start, size)

    async def list_accounts(self, request: web.Request) -> Result:
        """Serve the operation listBillingEngineAccounts."""
        account_id = parameters.parse_account_filter(_query(request))
        return Result(await self._database.read(lambda cursor: ledger.accounts(cursor, account_id)))

    async def get_costs(self, request: web.Request) -> Result:
        """Serve the operation getCostAnalysis."""
        cost_filter = parameters.parse_cost_filter(_query(request))
        rows = await self._find_costs(cost_filter)
        if self._max_rows is not None and len(rows) > self._max_rows:
            detail = ErrorDetail("query", f"matches more than {self._max_rows} rows", "TooLarge")
            raise ApiProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [detail])
        return Result(rows, ledger.item_builder(cost_filter))

    async def _find_costs(self, cost_filter: ledger.CostFilter) -> Sequence[Any]:
        """Return the rows of a cost query, cut from the cached rows of all days if few."""
        all_days = cost_filter._replace(from_date=None, to_date=None)

        def work(cursor: Cursor) -> Sequence[Any] | None:
            rows = ledger.costs(cursor, all_days, _MAX_CACHED_ROWS + 1)
            account_id = cost_filter.account_id
            if not rows and account_id is not None and not ledger.has_account(cursor, account_id):
                # An empty list would mean that a mistyped account has no costs.
                raise not_found("query.accountId", "account")
            return rows if len(rows) <= _MAX_CACHED_ROWS else None

        rows = await self._database.read_cached(all_days, work)
        if rows is not None:
            return ledger.select_days(rows, cost_filter)
        return await self._database.read(lambda cursor: ledger.costs(cursor, cost_filter))

    async def set_up_billing_engine(self, request: web.Request) -> Result:
        """Link a bucket and ingest all of its exports or none; validation reports the errors."""
        setup = parameters.parse_setup(await _body(request), _ENGINE)
        bucket = setup.bucket or ""
        buckets.check_bucket_name(self._root, bucket)

        def link(cursor: Cursor) -> None:
            registry.save_setup(cursor, _ENGINE, setup)
            ledger.remove_unlinked_buckets(cursor)

        def load(cursor: Cursor) -> list[ledger.Source]:
            return buckets.ingest_bucket(cursor, self._root, bucket)

        # Two transactions: the setup is kept even if its exports cannot be read.
        await self._database.write(link)
        try:
            sources = await self._database.write(load)
        except (buckets.BucketError, FocusError):
            return Result([_setup_item(setup) | {"status": "FAILED"}])
        rows = sum(source.row_count for source in sources)
        status = {"status": "ACTIVE", "files": len(sources), "rows": rows}
        return Result([_setup_item(setup) | status])

    async def validate_billing_engine(self, request: web.Request) -> Result:
        """Serve the operation validateBillingEngineSetup."""
        check = parameters.parse_setup_check(await _body(request), _ENGINE)

        def work(cursor: Cursor) -> list[dict[str, Any]]:
            setup = registry.get_setup(cursor, _ENGINE, check.billing_account_id)
            results = buckets.validate_bucket(cursor, self._root, setup.bucket or "")
            return [*_provider_mismatch(check, setup), *results]

        return Result(await self._database.read(work))

    async def set_up_cost_intelligence(self, request: web.Request) -> Result:
        """Serve the operation setupCostIntelligence."""
        setup = parameters.parse_setup(await _body(request), _INTELLIGENCE)
        await self._database.write(lambda cursor: registry.save_setup(cursor, _INTELLIGENCE, setup))
        return Result([_setup_item(setup) | {"status": "ACTIVE"}])

    async def validate_cost_intelligence(self, request: web.Request) -> Result:
        """Serve the operation validateCostIntelligenceSetup."""
        check = parameters.parse_setup_check(await _body(request), _INTELLIGENCE)

        def work(cursor: Cursor) -> list[dict[str, Any]]:
            setup = registry.get_setup(cursor, _INTELLIGENCE, check.billing_account_id)
            return _provider_mismatch(check, setup) or [_setup_item(setup) | {"valid": True}]

        return Result(await self._database.read(work))

    async def list_families(self, _request: web.Request) -> Result:
        """Serve the operation listAccountFamilies."""
        return Result(await self._database.read(registry.list_families))

    async def get_family(self, request: web.Request) -> Result:
        """Serve the operation getAccountFamily."""
        family_id = _family_id(request)
        return Result(
            [await self._database.read(lambda cursor: registry.get_family(cursor, family_id))]
        )

    async def create_family(self, request: web.Request) -> Result:
        """Serve the operation createAccountFamily."""
        family = parameters.parse_new_family(await _body(request))
        return Result(
            [await self._database.write(lambda cursor: registry.create_family(cursor, family))]
        )

    async def update_family(self, request: web.Request) -> Result:
        """Serve the operation updateAccountFamily."""
        family_id, change = (
            _family_id(request),
            parameters.parse_family_change(await _body(request)),
        )

        def work(cursor: Cursor) -> dict[str, Any]:
            return registry.update_family(cursor, family_id, change)

        return Result([await self._database.write(work)])

    async def delete_family(self, request: web.Request) -> Result:
        """Serve the operation deleteAccountFamily."""
        family_id = _family_id(request)
        await self._database.write(lambda cursor: registry.delete_family(cursor, family_id))
        return Result([])


def _query(request: web.Request) -> parameters.Query:
    return {name: request.query.getall(name) for name in request.query}


def _family_id(request: web.Request) -> str:
    return parameters.require_utf8(request.match_info["familyId"], "path.familyId")


async def _body(request: web.Request) -> bytes:
    """Return the body of a request.

    Raises:
        ApiProblem: 415, the content type is not JSON; 400, the body is malformed.
        web.HTTPRequestEntityTooLarge: the body exceeds aiohttp's default limit of 1 MiB.
    """
    if request.content_type != "application/json":
        message, code = "must be application/json", "UnsupportedMediaType"
        detail = ErrorDetail("header.Content-Type", message, code)
        raise ApiProblem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, [detail])
    try:
        return await request.read()
    except web.RequestPayloadError as error:
        raise ApiProblem(HTTPStatus.BAD_REQUEST, [ErrorDetail("body", str(error))]) from error


def _setup_item(setup: parameters.Setup) -> dict[str, Any]:
    item = {"cloudProvider": setup.cloud_provider, "billingAccountId": setup.billing_account_id}
    return item if setup.bucket is None else item | {"bucketName": setup.bucket}


def _provider_mismatch(
    check: parameters.SetupCheck, setup: parameters.Setup
) -> list[dict[str, Any]]:
    requested = check.cloud_provider
    if requested is None or requested.lower() == setup.cloud_provider:
        return []
    message = f"was set up for {setup.cloud_provider}, not for {requested}"
    return [{"valid": False, "column": "cloudProvider", "message": message}]
