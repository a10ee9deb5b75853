"""Rows and reports as plain records and JSON lines; pure functions.

Amounts are written in full, without an exponent and never rounded. In JSON they are strings,
because most JSON readers turn a number into a float.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from operator import attrgetter

import msgspec

from spot_billing_async.bulk.outcome import Fetched, PullReport
from spot_billing_async.models import CostItem, CostQuery
from spot_billing_async.models.money import plain

_ITEM_FIELDS = (
    "account_id",
    "cloud_provider",
    "service",
    "region",
    "family_id",
    "family",
    "date",
    "cost",
    "currency",
)
_QUERY_COLUMNS = ("query_account_id", "query_from", "query_to", "group_by")

COLUMNS = (*_QUERY_COLUMNS, *_ITEM_FIELDS, "request_id")
"""Columns of every export: the query, the item, and the id of the request."""

Batch = Sequence[Fetched[CostItem]]
Record = dict[str, object]
Row = tuple[str | date | Decimal | None, ...]

# The hook encodes subclasses of `date`, which msgspec refuses: pendulum's, or freezegun's.
_encoder = msgspec.json.Encoder(enc_hook=date.isoformat)
_query_values = attrgetter("account_id", "from_date", "to_date", "group_by")
_item_values = attrgetter(*_ITEM_FIELDS)


def rows(batch: Batch) -> Iterator[Row]:
    """Yield one row per item, with the values of `COLUMNS`."""
    for outcome in batch:
        query_values = _query_values(outcome.query)
        for item in outcome.items:
            yield (*query_values, *_item_values(item), outcome.request_id)


def row_records(batch: Batch) -> Iterator[Record]:
    """Yield one record per item, keyed by `COLUMNS`: costs as text, None for a missing value."""
    for row in rows(batch):
        yield dict(zip(COLUMNS, written(row), strict=True))


def query_record(query: CostQuery) -> Record:
    """Return the values of a query as a record, keyed as in a row."""
    return dict(zip(_QUERY_COLUMNS, _query_values(query), strict=True))


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


def written(row: Row) -> list[str | date | None]:
    """Return the values of a row with its amounts as text."""
    return [format(value, "f") if isinstance(value, Decimal) else value for value in row]
