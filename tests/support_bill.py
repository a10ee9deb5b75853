"""Bill with known costs, and an emulator that records the days requested from it."""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from aiohttp import web

from spot_billing_async.emulator import Emulator
from spot_billing_async.emulator.chaos.middleware import Handler

ACCOUNTS = [f"{number:012d}" for number in range(1, 51)]
FIRST_DAY = date(2024, 1, 1)
DAYS = 60
_HEAD = "BilledCost,BillingAccountId,BillingCurrency,ChargePeriodStart,ProviderName,ServiceName"


def cost_of(account_id: str, day: date) -> Decimal:
    """Return the cost of an account on a day of the bill."""
    return Decimal(int(account_id) * 1000 + (day - FIRST_DAY).days).scaleb(-7)


def write_bill(folder: Path) -> Path:
    """Write the bill, with a row per account and day, and return its path."""
    path = folder / "bill.csv"
    days = [FIRST_DAY + timedelta(days=n) for n in range(DAYS)]
    lines = [
        f"{cost_of(account, day):f},{account},USD,{day}T00:00:00Z,AWS,S3"
        for account in ACCOUNTS
        for day in days
    ]
    path.write_text("\n".join([_HEAD, *lines]) + "\n")
    return path


class RecordingEmulator(Emulator):
    """Emulator that records its requests.

    Attributes:
        requested: number of requests by account and day.
    """

    requested: Counter[tuple[str, date]]

    @web.middleware
    async def _count_requests(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        first, last = (date.fromisoformat(request.query[name]) for name in ("fromDate", "toDate"))
        self.requested.update(
            (request.query["accountId"], first + timedelta(days=n))
            for n in range((last - first).days + 1)
        )
        return await super()._count_requests(request, handler)


def recording_emulator(bill: Path, token: str) -> RecordingEmulator:
    """Return an emulator of a bill, not yet entered, with a latency that makes fetches overlap."""
    server = RecordingEmulator(focus=[bill], token=token, latency="20ms±10ms")
    server.requested = Counter()
    return server
