"""Outcomes for the tests of exports."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest

from spot_billing_async import CostItem, CostQuery, Fetched

MakeFetched = Callable[..., Fetched[CostItem]]


@pytest.fixture
def fetched() -> MakeFetched:
    """Return a factory of slices that were fetched, with one item per cost."""

    def make(*costs: str, service: str = "Amazon S3") -> Fetched[CostItem]:
        query = CostQuery(
            account_id="011254002932",
            from_date=date(2018, 10, 1),
            to_date=date(2018, 10, 31),
            group_by="service",
        )
        items = [
            CostItem(
                account_id="011254002932",
                cloud_provider="aws",
                service=service,
                date=date(2018, 10, 2),
                cost=Decimal(cost),
                currency="USD",
            )
            for cost in costs
        ]
        return Fetched(query, items, "req-1", 1, 0.1)

    return make
