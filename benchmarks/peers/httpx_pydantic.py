"""Httpx and pydantic by hand, in the fastest way that their documentation shows."""

import datetime as dt
from decimal import Decimal

import httpx
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from benchmarks.harness.task import TOKEN, Measurement, Task, day_of
from benchmarks.harness.watch import run_calls

LIBRARIES = ("httpx", "httpcore", "pydantic")


class CostItem(BaseModel):
    """A row."""

    model_config = ConfigDict(alias_generator=to_camel)

    account_id: str | None = None
    cloud_provider: str | None = None
    service: str | None = None
    region: str | None = None
    family: str | None = None
    family_id: str | None = None
    date: dt.date | None = None
    cost: Decimal | None = None
    currency: str | None = None


class Response(BaseModel):
    """`response` of an envelope."""

    items: list[CostItem]
    count: int | None = None


class Envelope(BaseModel):
    """A whole response body."""

    response: Response


async def run(task: Task) -> Measurement:
    """Make calls with one client."""
    limits = httpx.Limits(
        max_connections=task.concurrency, max_keepalive_connections=task.concurrency
    )
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}
    async with httpx.AsyncClient(
        base_url=task.base_url, headers=headers, limits=limits, trust_env=False
    ) as client:

        async def call(i: int) -> int:
            day = day_of(i)
            query = {"accountId": "a", "fromDate": day, "toDate": day}
            response = await client.get("/billingEngine/cost", params=query)
            response.raise_for_status()
            envelope = Envelope.model_validate_json(response.content)
            assert envelope.response.items
            return len(envelope.response.items)

        return await run_calls(call, task)
