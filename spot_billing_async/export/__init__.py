"""Costs as files: JSON lines, CSV and Parquet; and as an Arrow table, in `export.arrow`.

Parquet and Arrow need the extra `export`; JSON lines and CSV need nothing.
"""

from spot_billing_async.bulk.records import COLUMNS
from spot_billing_async.export.sinks import ExportError
from spot_billing_async.export.writer import CostWriter, open_writer, write_costs

__all__ = ["COLUMNS", "CostWriter", "ExportError", "open_writer", "write_costs"]
