"""What pulls come to as plain records, and how rows are spelled as JSON lines and as CSV: pure.

Amounts are spelled in full, never with an exponent, and never rounded. In JSON they are text: what
reads a number of JSON mostly makes a float of it.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from spot_billing_async.bulk.outcome import Fetched, PullReport
from spot_billing_async.models import CostItem, CostQuery
from spot_billing_async.models.money import plain

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
Record = dict[str, object]
Row = tuple[str | date | Decimal | None, ...]

_encoder = msgspec.json.Encoder()


def rows(batch: Batch) -> Iterator[Row]:
    """One row for each item, with the values of `COLUMNS`."""
    for outcome in batch:
        asked = _asked(outcome.query)
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


def row_records(batch: Batch) -> Iterator[Record]:
    """One record for each item, under the names of `COLUMNS`: costs as text, None for no value."""
    for row in rows(batch):
        yield dict(zip(COLUMNS, _spelled(row), strict=True))


def query_record(query: CostQuery) -> Record:
    """What was asked, under the names that it has in a row."""
    return dict(zip(COLUMNS, _asked(query), strict=False))


def report_record(report: PullReport) -> Record:
    """The books of a pull; totals as text, by currency."""
    return {
        "planned": report.planned,
        "ok": report.ok,
        "empty": report.empty,
        "failed": report.failed,
        "cancelled": report.cancelled,
        "not_started": report.not_started,
        "rows": report.rows,
        "totals": {code: plain(report.totals[code]) for code in sorted(report.totals)},
        "requests": report.requests,
        "retries": report.retries,
        "refusals": report.refusals,
        "elapsed_s": round(report.elapsed_s, 3),
    }


def json_lines(batch: Batch) -> bytes:
    """A JSON object a line, in UTF-8: costs as text, ISO 8601 dates, null for what is missing."""
    return _encoder.encode_lines(row_records(batch))


def csv_records(batch: Batch) -> bytes:
    """Records of RFC 4180, in UTF-8; a field without a value is empty.

    Nothing is done to a text that a spreadsheet would take for a formula: it is kept as it came.
    """
    return _csv(_spelled(row) for row in rows(batch))


def csv_header() -> bytes:
    """The record that names the columns."""
    return _csv([COLUMNS])


def _asked(query: CostQuery) -> Row:
    return (query.account_id, query.from_date, query.to_date, query.group_by)


def _csv(records: Iterator[Sequence[object]] | Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(records)
    return text.getvalue().encode()


def _spelled(row: Row) -> list[str | date | None]:
    return [format(value, "f") if isinstance(value, Decimal) else value for value in row]
