"""What the emulator's tests share: a plain HTTP client, real bills, small bills of their own."""

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


class Answer(NamedTuple):
    """An answer's status, headers, and body as exact JSON."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def items(self) -> list[Any]:
        """The items of a 200."""
        assert self.status == 200, self.body
        items: list[Any] = self.body["response"]["items"]
        assert self.body["response"]["count"] == len(items)
        return items

    @property
    def fields(self) -> list[str | None]:
        """The fields that the errors name."""
        return [entry.get("field") for entry in self.body["response"]["errors"]]


class Caller:
    """Calls the API as a client would that knows only HTTP."""

    def __init__(self, server: Emulator, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def __call__(self, method: str, path: str, **options: Any) -> Answer:
        """One request, with a good token unless `headers` say otherwise."""
        options.setdefault("headers", {"Authorization": f"Bearer {self.server.token}"})
        async with self.session.request(method, self.server.base_url + path, **options) as answer:
            body = await answer.read()
            decoded = json.loads(body, parse_float=Decimal)
            return Answer(answer.status, dict(answer.headers), decoded)

    async def costs(self, **query: str) -> list[Any]:
        """The items of cost analysis."""
        return (await self("GET", "/billingEngine/cost", params=query)).items


Serve = Callable[..., AbstractAsyncContextManager[Caller]]


@pytest.fixture
def serve() -> Serve:
    """Starts an emulator with a caller at its side, for as long as a block lasts."""

    @asynccontextmanager
    async def running(**options: Any) -> AsyncIterator[Caller]:
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(Emulator(token=TOKEN, **options))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            yield Caller(server, session)

    return running


Bill = Callable[..., Path]


@pytest.fixture
def bill(tmp_path: Path) -> Bill:
    """Writes a bill of rows that differ from ROW in what is named; returns its path."""

    def written(*rows: dict[str, str], name: str = "bill.csv", without: str = "") -> Path:
        columns = [column for column in COLUMNS if column != without]
        lines = [",".join(columns)]
        for row in rows:
            cells = dict(zip(COLUMNS, ROW, strict=True)) | row
            lines.append(",".join(cells[column] for column in columns))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    return written


@pytest.fixture
def real_bills() -> Path:
    """The folder of real bills, which this project doesn't ship."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real bills are not beside the checkout")
    return folder
