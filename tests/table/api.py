"""Cost server for tests: its costs can be restated, and its windows limited."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import anyio
import msgspec
from aiohttp import web

from spot_billing_async import ClientConfig, RetryPolicy, SpotBillingClient
from tests.support import serve

Row = dict[str, Any]

FIRST, LAST = date(2024, 1, 1), date(2024, 3, 31)
DAYS = (LAST - FIRST).days + 1
CONFIG = ClientConfig(retry=RetryPolicy(max_attempts=1), max_concurrency=4)


class Api:
    """Costs by account and day, in memory.

    Attributes:
        costs: amounts by service, for each account and day.
        requested: requested windows in order: account, first and last day, breakdown.
        refuse: returns a response instead of the rows, for an account and a number of days; None
            for the rows.
        is_dated: whether rows carry their date.
        stall: returns whether a request for a number of days gets no response.
        alter: changes the rows of a response.
    """

    def __init__(self, accounts: int = 2) -> None:
        self.accounts = [f"act-{n}" for n in range(accounts)]
        self.costs = {
            (account, FIRST + timedelta(days=n)): {
                "s3": Decimal(n + 1) / 7000 + number,
                "ec2": Decimal("-0.5") - n,
            }
            for number, account in enumerate(self.accounts)
            for n in range(DAYS)
        }
        for costs in self.costs.values():
            for service, cost in costs.items():
                costs[service] = cost.quantize(Decimal("1e-11"))
        self.requested: list[tuple[str, date, date, str | None]] = []
        self.refuse: Callable[[str, int], web.Response | None] = lambda _account, _days: None
        self.stall: Callable[[int], bool] = lambda _days: False
        self.is_dated = True
        self.alter: Callable[[list[Row]], list[Row]] = list

    @property
    def total(self) -> Decimal:
        """The sum of all costs."""
        return sum((cost for costs in self.costs.values() for cost in costs.values()), Decimal(0))

    async def handle(self, request: web.Request) -> web.Response:
        """Respond to a request for costs."""
        query = request.query
        first, last = (date.fromisoformat(query[name]) for name in ("fromDate", "toDate"))
        account, group_by = query["accountId"], query.get("groupBy")
        self.requested.append((account, first, last, group_by))
        if self.stall((last - first).days + 1):
            await anyio.sleep_forever()
        refusal = self.refuse(account, (last - first).days + 1)
        if refusal is not None:
            return refusal
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        rows = self.alter([row for day in days for row in self._rows(account, day, group_by)])
        if not self.is_dated:
            rows = undated(rows)
        return rows_response(rows)

    def _rows(self, account: str, day: date, group_by: str | None) -> list[Row]:
        costs = self.costs.get((account, day), {})
        if group_by is None and costs:
            costs = {"": sum(costs.values(), Decimal(0))}
        return [
            {"accountId": account, "date": day.isoformat(), "cost": cost, "currency": "USD"}
            | ({"service": service} if service else {})
            for service, cost in costs.items()
        ]


def rows_response(rows: list[Row]) -> web.Response:
    body = {"request": {"id": "r1"}, "response": {"items": rows, "count": len(rows)}}
    encoder = msgspec.json.Encoder(decimal_format="number")
    return web.Response(body=encoder.encode(body), content_type="application/json")


def undated(rows: list[Row]) -> list[Row]:
    """Return the same costs without dates, summed over the requested days."""
    sums: dict[str | None, Row] = {}
    for row in rows:
        into = sums.setdefault(row.get("service"), row | {"date": None, "cost": Decimal(0)})
        into["cost"] += row["cost"]
    return list(sums.values())


@asynccontextmanager
async def client_of(api: Api, config: ClientConfig = CONFIG) -> AsyncIterator[SpotBillingClient]:
    async with (
        serve(api.handle) as base_url,
        SpotBillingClient("t", base_url=base_url, config=config) as client,
    ):
        yield client
