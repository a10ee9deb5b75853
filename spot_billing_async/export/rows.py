"""What a row of an export is, and how it is spelled as JSON lines and as CSV: pure functions.

Amounts are spelled in full, never with an exponent, and never rounded.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.models import CostItem

COLUMNS = (
    "query_account_id",
    "query_from",
    "query_to",
    "group_by",
    "account_id",
    "cloud_provider",
    "service",
    "region",
    "family_id",
    "family",
    "date",
    "cost",
    "currency",
    "request_id",
)
"""The columns of every export: what was asked, what was answered, and by which request."""

Batch = Sequence[Fetched[CostItem]]
Row = tuple[str | date | Decimal | None, ...]

_encoder = msgspec.json.Encoder()


def rows(batch: Batch) -> Iterator[Row]:
    """One row for each item, with the values of `COLUMNS`."""
    for outcome in batch:
        query = outcome.query
        asked = (query.account_id, query.from_date, query.to_date, query.group_by)
        for item in outcome.items:
            yield (
                *asked,
                item.account_id,
                item.cloud_provider,
                item.service,
                item.region,
                item.family_id,
                item.family,
                item.date,
                item.cost,
                item.currency,
                outcome.request_id,
            )


def json_lines(batch: Batch) -> bytes:
    """A JSON object a line, in UTF-8: costs as text, ISO 8601 dates, null for what is missing."""
    return _encoder.encode_lines(
        [dict(zip(COLUMNS, _spelled(row), strict=True)) for row in rows(batch)]
    )


def csv_records(batch: Batch) -> bytes:
    """Records of RFC 4180, in UTF-8; a field without a value is empty.

    Nothing is done to a text that a spreadsheet would take for a formula: it is kept as it came.
    """
    return _csv(_spelled(row) for row in rows(batch))


def csv_header() -> bytes:
    """The record that names the columns."""
    return _csv([COLUMNS])


def _csv(records: Iterator[Sequence[object]] | Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(records)
    return text.getvalue().encode()


def _spelled(row: Row) -> list[str | date | None]:
    return [format(value, "f") if isinstance(value, Decimal) else value for value in row]
