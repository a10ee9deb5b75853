"""Arrow schemas of the costs and the ledger, and the conversion of rows."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.export import ExportError
from spot_billing_async.export.arrow import DEFAULT_SCALE, batch_table, schema
from spot_billing_async.models import CostItem
from spot_billing_async.table.ledger import LedgerEntry

_MOMENT = pa.timestamp("us", "UTC")
_AMOUNT = pa.decimal128(38, DEFAULT_SCALE)

COSTS = schema().append(pa.field("fetched_at", _MOMENT))
LEDGER = pa.schema(
    {
        "account_id": pa.string(),
        "from_date": pa.date32(),
        "to_date": pa.date32(),
        "group_by": pa.string(),
        "request_id": pa.string(),
        "rows": pa.int64(),
        "totals": pa.map_(pa.string(), _AMOUNT),
        "digest": pa.string(),
        "fetched_at": _MOMENT,
        "as_of": pa.date32(),
        "incomplete": pa.bool_(),
        "widest_days": pa.int32(),
        "borne_rows": pa.int64(),
    }
)


def cost_rows(fetched: Fetched[CostItem], fetched_at: datetime) -> pa.Table:
    """Return the rows of a response as rows of the costs.

    Raises:
        ExportError: an amount has more than 18 decimals or 20 digits before them.
    """
    table = batch_table([fetched], DEFAULT_SCALE)
    if table.schema.field("cost").type != _AMOUNT:
        raise ExportError(
            f"an amount must have at most {DEFAULT_SCALE} digits after the decimal point"
        )
    return table.append_column(
        COSTS.field("fetched_at"), pa.array([fetched_at] * table.num_rows, _MOMENT)
    )


def ledger_rows(entries: Iterable[LedgerEntry]) -> pa.Table:
    """Return ledger entries as rows of the ledger.

    Raises:
        ExportError: a total does not fit its column.
    """
    rows = [
        msgspec.structs.asdict(entry) | {"totals": [*entry.totals.items()]} for entry in entries
    ]
    try:
        return pa.Table.from_pylist(rows, schema=LEDGER)
    except pa.ArrowInvalid as error:
        raise ExportError(f"a total does not fit the ledger's {_AMOUNT}: {error}") from error


def ledger_entry(row: Mapping[str, Any]) -> LedgerEntry:
    """Return a row of the ledger as an entry."""
    return msgspec.convert({**row, "totals": dict(row["totals"])}, LedgerEntry)
