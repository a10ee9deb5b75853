"""Parquet files of costs (extra: export)."""

import contextlib
from pathlib import Path
from typing import Any

from spot_billing_async.bulk.records import Batch
from spot_billing_async.export.arrow import DEFAULT_SCALE, batch_table, schema, widened
from spot_billing_async.export.atomic_file import PendingFile

# isort: split
import pyarrow as pa
import pyarrow.parquet as pq  # after export.arrow, whose error names the extra

_GROUP_ROWS = 32_768
"""Rows per row group; smaller groups make files larger and slower to read."""


class ParquetSink:
    """Parquet file whose amounts get more decimals when an amount needs them.

    A Parquet file has one schema, so the rows written before are then copied, one row group at a
    time, into another hidden file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._group: list[pa.Table] = []  # batches of the next row group
        self._start(PendingFile(path), DEFAULT_SCALE)

    def _start(self, file: PendingFile, scale: int) -> None:
        self._file = file
        self._scale = scale
        self._parquet: Any = pq.ParquetWriter(file.stream, schema(scale), compression="zstd")

    def write(self, batch: Batch) -> None:
        """Append a batch.

        Raises:
            ExportError: the amounts do not fit one decimal128 type exactly; the message names one.
        """
        table = batch_table(batch, self._scale)
        scale = table.schema.field("cost").type.scale
        if scale > self._scale:
            self._widen(scale)
        self._group.append(table)
        if sum(part.num_rows for part in self._group) >= _GROUP_ROWS:
            self._write_group()

    def commit(self) -> None:
        """Write the footer and rename the file to its target name."""
        self._write_group()
        self._parquet.close()
        self._file.commit()

    def discard(self) -> None:
        """Remove the hidden file."""
        # An open writer writes its footer when it is collected, which fails with a warning.
        with contextlib.suppress(Exception):
            self._parquet.close()
        self._file.discard()

    def _write_group(self) -> None:
        if self._group:
            table = pa.concat_tables(self._group)
            self._parquet.write_table(table, row_group_size=table.num_rows)
            self._group.clear()

    def _widen(self, scale: int) -> None:
        self._group = [widened(table, scale) for table in self._group]
        # The file is read back, so footer and buffer have to be written first.
        self._parquet.close()
        self._file.stream.flush()
        narrow = self._file
        self._start(PendingFile(self._path), scale)
        try:
            with pq.ParquetFile(narrow.stream) as earlier:
                for index in range(earlier.num_row_groups):
                    self._parquet.write_table(widened(earlier.read_row_group(index), scale))
        finally:
            narrow.discard()
