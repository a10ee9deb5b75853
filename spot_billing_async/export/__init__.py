"""Export of costs to JSON lines, CSV and Parquet files, and to Arrow tables (`export.arrow`).

Parquet and Arrow need the extra `export`; JSON lines and CSV need no extra.
"""

from spot_billing_async.bulk.records import COLUMNS
from spot_billing_async.export.sinks import ExportError
from spot_billing_async.export.writer import CostWriter, open_writer, write_costs

__all__ = ["COLUMNS", "CostWriter", "ExportError", "open_writer", "write_costs"]
