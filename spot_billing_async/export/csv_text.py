"""CSV, as of RFC 4180. Pure functions."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from spot_billing_async.bulk.records import Batch, rows, written

V = TypeVar("V")

_FORMULA_START = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last four: full width
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def csv_records(batch: Batch) -> bytes:
    """Encode the items as records, in UTF-8; a field without a value is empty.

    Texts are written unchanged, including those that a spreadsheet would run as a formula.
    """
    return encode_csv(map(written, rows(batch)))


def spreadsheet_records(batch: Batch) -> bytes:
    """Encode the items as `csv_records` does, with formulas as text."""
    return encode_csv([without_formula(value) for value in written(row)] for row in rows(batch))


def encode_csv(records: Iterable[Sequence[object]]) -> bytes:
    """Encode some records in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(records)
    return text.getvalue().encode()


def without_formula(value: V) -> V | str:
    """Return a value with an apostrophe before it, if a spreadsheet might run it as a formula.

    Numbers, such as '-1.5', stay as they are.
    """
    if isinstance(value, str) and _FORMULA_START.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
