"""Rows and reports as plain records, JSON lines and CSV; pure functions.

Amounts are written in full, without an exponent and never rounded. In JSON they are strings,
because most JSON readers turn a number into a float.
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
"""Columns of every export: the query, the item, and the id of the request."""

Batch = Sequence[Fetched[CostItem]]
Record = dict[str, object]
Row = tuple[str | date | Decimal | None, ...]

# The hook encodes subclasses of `date`, which msgspec refuses: pendulum's, or freezegun's.
_encoder = msgspec.json.Encoder(enc_hook=date.isoformat)


def rows(batch: Batch) -> Iterator[Row]:
    """Yield one row per item, with the values of `COLUMNS`."""
    for outcome in batch:
        query_values = _query_values(outcome.query)
        for item in outcome.items:
            yield (
                *query_values,
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
    """Yield one record per item, keyed by `COLUMNS`: costs as text, None for a missing value."""
    for row in rows(batch):
        yield dict(zip(COLUMNS, _written(row), strict=True))


def query_record(query: CostQuery) -> Record:
    """Return the values of a query as a record, keyed as in a row."""
    return dict(zip(COLUMNS, _query_values(query), strict=False))


def report_record(report: PullReport) -> Record:
    """Return the report of a pull as a record; totals are texts by currency code."""
    return {
        **msgspec.structs.asdict(report),
        "totals": {code: plain(report.totals[code]) for code in sorted(report.totals)},
        "elapsed_s": round(report.elapsed_s, 3),
    }


def json_lines(batch: Batch) -> bytes:
    """Encode one JSON object per item and line, in UTF-8; a missing value is null."""
    return _encoder.encode_lines(row_records(batch))


def csv_records(batch: Batch) -> bytes:
    """Encode the items as RFC 4180 records, in UTF-8; a field without a value is empty.

    Texts are written unchanged, including those that a spreadsheet would run as a formula.
    """
    return _csv(_written(row) for row in rows(batch))


def csv_header() -> bytes:
    """Encode the header record, which names the columns."""
    return _csv([COLUMNS])


def _query_values(query: CostQuery) -> Row:
    return (query.account_id, query.from_date, query.to_date, query.group_by)


def _csv(records: Iterator[Sequence[object]] | Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(records)
    return text.getvalue().encode()


def _written(row: Row) -> list[str | date | None]:
    return [format(value, "f") if isinstance(value, Decimal) else value for value in row]
