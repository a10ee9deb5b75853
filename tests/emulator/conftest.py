"""Fixtures of the emulator's tests: a plain HTTP client, real bills and generated small bills."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from spot_billing_async.emulator import Emulator

TOKEN = "good-token"

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "ChargePeriodStart",
    "ProviderName",
    "ServiceName",
    "SubAccountId",
    "RegionId",
    "RegionName",
)
ROW = (
    "1.25",
    "payer",
    "USD",
    "2024-01-31T23:00:00Z",
    "AWS",
    "Compute",
    "007",
    "eu-1",
    "Europe 1",
)


class ApiResponse(NamedTuple):
    """Response with its status, headers, and body as exact JSON."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def items(self) -> list[Any]:
        """The items of a 200 response."""
        assert self.status == 200, self.body
        items: list[Any] = self.body["response"]["items"]
        assert self.body["response"]["count"] == len(items)
        return items

    @property
    def fields(self) -> list[str | None]:
        """The fields that the errors name, None for an error without a field."""
        return [entry.get("field") for entry in self.body["response"]["errors"]]


class Caller:
    """Minimal HTTP client of the API."""

    def __init__(self, server: Emulator, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def __call__(self, method: str, path: str, **options: Any) -> ApiResponse:
        """Send a request, with a valid token unless `headers` are given."""
        options.setdefault("headers", {"Authorization": f"Bearer {self.server.token}"})
        async with self.session.request(method, self.server.base_url + path, **options) as response:
            body = await response.read()
            decoded = json.loads(body, parse_float=Decimal)
            return ApiResponse(response.status, dict(response.headers), decoded)

    async def costs(self, **query: str) -> list[Any]:
        """Return the items of a cost query."""
        return (await self("GET", "/billingEngine/cost", params=query)).items


Serve = Callable[..., AbstractAsyncContextManager[Caller]]


@pytest.fixture
def serve() -> Serve:
    """Return a context manager that runs an emulator and yields a caller of it."""

    @asynccontextmanager
    async def run_emulator(**options: Any) -> AsyncIterator[Caller]:
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(Emulator(token=TOKEN, **options))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            yield Caller(server, session)

    return run_emulator


Bill = Callable[..., Path]


@pytest.fixture
def bill(tmp_path: Path) -> Bill:
    """Return a function that writes a bill and returns its path; its rows are changes of ROW."""

    def write_bill(*rows: dict[str, str], name: str = "bill.csv", without: str = "") -> Path:
        columns = [column for column in COLUMNS if column != without]
        lines = [",".join(columns)]
        for row in rows:
            cells = dict(zip(COLUMNS, ROW, strict=True)) | row
            lines.append(",".join(cells[column] for column in columns))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    return write_bill


@pytest.fixture
def real_bills() -> Path:
    """Return the folder of real bills, which are not part of this project."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real bills are not next to the checkout")
    return folder
