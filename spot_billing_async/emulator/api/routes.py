"""The eleven operations of the contract: a request is read, worked on, answered in an envelope."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread
from aiohttp import web

from spot_billing_async.emulator.api import buckets, parameters, registry
from spot_billing_async.emulator.chaos.wrong_answers import LIE, told
from spot_billing_async.emulator.data import ledger
from spot_billing_async.emulator.data.database import Cursor, Store
from spot_billing_async.emulator.data.focus import FocusError
from spot_billing_async.emulator.responses import (
    Entry,
    Page,
    Refused,
    json_answer,
    page_body,
    unknown,
)

_MANY_ROWS = 500
"""From so many rows on, an answer is made off the event loop: it takes milliseconds."""

_MOST_REMEMBERED = 20_000
"""Of cost analysis over all days, up to so many rows are remembered: of these any days are a part.

A bulk pull asks for the same over and over, for other days; a query costs milliseconds.
"""

_ENGINE, _INTELLIGENCE = "billingEngine", "costIntelligence"


class Listing(NamedTuple):
    """What an operation found: rows, and what makes an item of a row that is answered."""

    rows: Sequence[Any]
    item: Callable[[Any], Any] = dict


Operation = Callable[[web.Request], Awaitable[Listing]]


class Api:
    """What each operation does.

    Args:
        store: where the state is.
        root: the folder that bucket names stand for folders of; None for none.
        page_size: items a page; None answers with all of them at once.
        total_count: whether pages say how many items there are in all.
        max_rows: rows that a query for costs may find, all pages together; None for any.
    """

    def __init__(
        self,
        store: Store,
        root: Path | None,
        page_size: int | None,
        *,
        total_count: bool,
        max_rows: int | None,
    ) -> None:
        self._store = store
        self._root = root
        self._page_size = page_size
        self._total_count = total_count
        self._max_rows = max_rows

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Enter the operations; a kind says in the envelope what the items are."""
        family = "/billingEngine/family/{familyId}"
        table: tuple[tuple[str, str, Operation, str], ...] = (
            ("GET", "/billingEngine/account", self._accounts, "account"),
            ("GET", "/billingEngine/cost", self._costs, "cost"),
            ("POST", "/billingEngine/setup", self._set_up_engine, "setup"),
            ("POST", "/billingEngine/setup/validation", self._validate_engine, "validation"),
            ("POST", "/billingEngine/family", self._create_family, "family"),
            ("GET", "/billingEngine/family", self._families, "family"),
            ("GET", family, self._family, "family"),
            ("PUT", family, self._update_family, "family"),
            ("DELETE", family, self._delete_family, "family"),
            ("POST", "/costIntelligence/setup", self._set_up_intelligence, "setup"),
            (
                "POST",
                "/costIntelligence/setup/validation",
                self._validate_intelligence,
                "validation",
            ),
        )
        for method, path, operation, kind in table:
            product = path.split("/")[1]
            router.add_route(method, path, partial(self._serve, f"{product}:{kind}", operation))

    async def _serve(
        self, kind: str, operation: Operation, request: web.Request
    ) -> web.StreamResponse:
        listing = await operation(request)
        page = self._page(request, listing.rows)

        def body() -> bytes:
            items = [listing.item(row) for row in page.items]
            return page_body(request, kind, page._replace(items=items))

        many = len(page.items) >= _MANY_ROWS
        return json_answer(await anyio.to_thread.run_sync(body) if many else body())

    def _page(self, request: web.Request, rows: Sequence[Any]) -> Page:
        """What is answered of the rows: those of the page that is asked for, or a lie."""
        size = self._page_size
        start = 0 if size is None else parameters.page_start(_query(request), len(rows), size)
        page = Page(rows) if size is None else _page_at(start, rows, size)
        if page.pagination_info is not None and not self._total_count:
            keys = {k: v for k, v in page.pagination_info.items() if k != "totalCount"}
            page = page._replace(pagination_info=keys)
        lie = request.get(LIE) if request.method == "GET" else None
        return page if lie is None else told(lie, page, rows, start, size)

    async def _accounts(self, request: web.Request) -> Listing:
        account_id = parameters.account_filter(_query(request))
        return Listing(await self._store.read(lambda cursor: ledger.accounts(cursor, account_id)))

    async def _costs(self, request: web.Request) -> Listing:
        asked = parameters.cost_filter(_query(request))
        rows = await self._found(asked)
        if self._max_rows is not None and len(rows) > self._max_rows:
            entry = Entry("query", f"finds more than {self._max_rows} rows", "TooLarge")
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [entry])
        return Listing(rows, ledger.cost_item(asked))

    async def _found(self, asked: ledger.CostFilter) -> Sequence[Any]:
        """The rows of a query for costs; those of a small account or breakdown are remembered."""
        ever = asked._replace(from_date=None, to_date=None)

        def work(cursor: Cursor) -> Sequence[Any] | None:
            rows = ledger.costs(cursor, ever, _MOST_REMEMBERED + 1)
            account_id = asked.account_id
            if not rows and account_id is not None and not ledger.has_account(cursor, account_id):
                # No rows would say that it cost nothing.
                raise unknown("query.accountId", "account")
            return rows if len(rows) <= _MOST_REMEMBERED else None

        rows = await self._store.read_once(ever, work)
        if rows is not None:
            return ledger.cost_days(rows, asked)
        return await self._store.read(lambda cursor: ledger.costs(cursor, asked))

    async def _set_up_engine(self, request: web.Request) -> Listing:
        """Link a bucket, then ingest it whole or not at all: validation says what is wrong."""
        setup = parameters.setup(await _body(request), _ENGINE)
        bucket = setup.bucket or ""
        buckets.demand_inside(self._root, bucket)

        def link(cursor: Cursor) -> None:
            registry.save_setup(cursor, _ENGINE, setup)
            ledger.forget_unlinked_buckets(cursor)

        def load(cursor: Cursor) -> list[ledger.Source]:
            return ledger.ingest_bucket(cursor, bucket, buckets.exports(self._root, bucket))

        await self._store.write(link)
        try:
            sources = await self._store.write(load)
        except (buckets.BucketError, FocusError):
            return Listing([_described(setup) | {"status": "FAILED"}])
        rows = sum(source.row_count for source in sources)
        found = {"status": "ACTIVE", "files": len(sources), "rows": rows}
        return Listing([_described(setup) | found])

    async def _validate_engine(self, request: web.Request) -> Listing:
        check = parameters.setup_check(await _body(request), _ENGINE)

        def work(cursor: Cursor) -> list[dict[str, Any]]:
            setup = registry.get_setup(cursor, _ENGINE, check.billing_account_id)
            found = buckets.report(cursor, self._root, setup.bucket or "")
            return [*_provider_finding(check, setup), *found]

        return Listing(await self._store.read(work))

    async def _set_up_intelligence(self, request: web.Request) -> Listing:
        setup = parameters.setup(await _body(request), _INTELLIGENCE)
        await self._store.write(lambda cursor: registry.save_setup(cursor, _INTELLIGENCE, setup))
        return Listing([_described(setup) | {"status": "ACTIVE"}])

    async def _validate_intelligence(self, request: web.Request) -> Listing:
        check = parameters.setup_check(await _body(request), _INTELLIGENCE)

        def work(cursor: Cursor) -> list[dict[str, Any]]:
            setup = registry.get_setup(cursor, _INTELLIGENCE, check.billing_account_id)
            return _provider_finding(check, setup) or [_described(setup) | {"valid": True}]

        return Listing(await self._store.read(work))

    async def _families(self, _request: web.Request) -> Listing:
        return Listing(await self._store.read(registry.list_families))

    async def _family(self, request: web.Request) -> Listing:
        family_id = _family_id(request)
        return Listing(
            [await self._store.read(lambda cursor: registry.get_family(cursor, family_id))]
        )

    async def _create_family(self, request: web.Request) -> Listing:
        new = parameters.new_family(await _body(request))
        return Listing(
            [await self._store.write(lambda cursor: registry.create_family(cursor, new))]
        )

    async def _update_family(self, request: web.Request) -> Listing:
        family_id, change = _family_id(request), parameters.family_change(await _body(request))

        def work(cursor: Cursor) -> dict[str, Any]:
            return registry.update_family(cursor, family_id, change)

        return Listing([await self._store.write(work)])

    async def _delete_family(self, request: web.Request) -> Listing:
        family_id = _family_id(request)
        await self._store.write(lambda cursor: registry.delete_family(cursor, family_id))
        return Listing([])


def _page_at(start: int, rows: Sequence[Any], size: int) -> Page:
    after = start + size
    return Page(
        rows[start:after],
        {
            "totalCount": len(rows),
            "nextKey": str(after) if after < len(rows) else None,
            "previousKey": str(start - size) if start > size else None,
        },
    )


def _query(request: web.Request) -> parameters.Query:
    return {name: request.query.getall(name) for name in request.query}


def _family_id(request: web.Request) -> str:
    return parameters.clean_text(request.match_info["familyId"], "path.familyId")


async def _body(request: web.Request) -> bytes:
    """The JSON text of a body.

    Raises:
        Refused: 415, it says that it is something else than JSON; 400, it is damaged.
        web.HTTPRequestEntityTooLarge: it is larger than the server takes.
    """
    if request.content_type != "application/json":
        entry = Entry("header.Content-Type", "must be application/json", "UnsupportedMediaType")
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, [entry])
    try:
        return await request.read()
    except web.RequestPayloadError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, [Entry("body", str(error))]) from error


def _described(setup: parameters.Setup) -> dict[str, Any]:
    named = {"cloudProvider": setup.cloud_provider, "billingAccountId": setup.billing_account_id}
    return named if setup.bucket is None else named | {"bucketName": setup.bucket}


def _provider_finding(
    check: parameters.SetupCheck, setup: parameters.Setup
) -> list[dict[str, Any]]:
    asked = check.cloud_provider
    if asked is None or asked.lower() == setup.cloud_provider:
        return []
    message = f"was set up for {setup.cloud_provider}, not for {asked}"
    return [{"valid": False, "column": "cloudProvider", "message": message}]
