"""File formats: the ending of a path decides how its rows are written.

A new format is one more ending here, with a sink that writes its batches.
"""

from collections.abc import Callable
from pathlib import Path

from spot_billing_async.bulk.records import COLUMNS, json_lines
from spot_billing_async.errors import ConfigError
from spot_billing_async.export.csv_text import csv_records, encode_csv, spreadsheet_records
from spot_billing_async.export.sinks import Sink, StdoutSink, TextFileSink
from spot_billing_async.models.validation import check_flag

STDOUT = "-"


def sink_factory(path: str | Path, *, spreadsheet: bool) -> Callable[[], Sink]:
    """Return a function that opens the sink of a path, in the format of its ending.

    Args:
        path: ends in .jsonl (JSON lines), .csv or .parquet; "-" is JSON lines on standard output.
        spreadsheet: True to write formulas in CSV as text.

    Raises:
        ConfigError: the ending is another one, or not .csv although `spreadsheet` is True.
    """
    check_flag("spreadsheet", spreadsheet)
    if spreadsheet and Path(path).suffix.lower() != ".csv":
        raise ConfigError(
            f"spreadsheet must be False unless the path ends in .csv, got True for {str(path)!r}"
        )
    if str(path) == STDOUT:
        return lambda: StdoutSink(json_lines)
    file = Path(path)
    match file.suffix.lower():
        case ".jsonl":
            return lambda: TextFileSink(file, json_lines)
        case ".csv":
            encode = spreadsheet_records if spreadsheet else csv_records
            return lambda: TextFileSink(file, encode, encode_csv([COLUMNS]))
        case ".parquet":

            def open_parquet() -> Sink:
                # Imported late, as pyarrow belongs to an extra.
                from spot_billing_async.export.parquet import ParquetSink  # noqa: PLC0415  see above

                return ParquetSink(file)

            return open_parquet
        case _:
            raise ConfigError(
                f"path must end in one of .jsonl, .csv, .parquet or be {STDOUT!r} for standard "
                f"output, got {str(file)!r}"
            )
