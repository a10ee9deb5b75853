"""What of a table is shown, in words. Pure."""

from datetime import date
from typing import TYPE_CHECKING

from spot_billing_async.cli.output import counted, totals_text
from spot_billing_async.models.money import totals_by_currency

if TYPE_CHECKING:
    from spot_billing_async.table.reading import Reading

SHOWN = ("name", "cost", "currency", "days")


def reading_line(reading: "Reading", since: date | None) -> str:
    """The totals, and which breakdown, days and accounts they are of."""
    what = _covered(reading)
    if reading.sums:
        totals = totals_by_currency(
            [each.total for each in reading.sums], [each.currency for each in reading.sums]
        )
        return f"total {totals_text(totals)}; {what}"
    if since is not None:
        return f"no rows since {since}" + (f"; {what}" if what else "")
    return f"no rows; {what}" if what else "the table is empty"


def _covered(reading: "Reading") -> str:
    """Breakdown, accounts and days; empty where nothing was answered."""
    if reading.coverage is None:
        return ""
    accounts, days, covered_days = reading.coverage
    rows = "rows without a breakdown" if reading.group_by is None else f"rows by {reading.group_by}"
    line = f"{rows}, of {counted(accounts, 'account')}, {days.from_date} to {days.to_date}"
    if covered_days >= accounts * days.days:
        return line
    return f"{line} ({covered_days:,} of {accounts * days.days:,} days of accounts are there)"
