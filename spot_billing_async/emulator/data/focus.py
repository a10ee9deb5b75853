"""Reader of FOCUS exports: file formats, mapping of columns, and validation of every row.

FOCUS is the FinOps Foundation's format of cloud bills. Every value is read as text and checked
before it is cast, so that nothing is rounded, guessed or dropped: a file is read completely or
refused.
"""
# ruff: noqa: S608  SQL is built from constants of this package; values are bound

import csv
import glob
import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import duckdb

from spot_billing_async.emulator.data.database import Cursor, one_row

MAX_DIGITS = 38
"""Digits of DuckDB's widest DECIMAL, before and after the decimal point together."""

REQUIRED = (
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "ChargePeriodStart",
    "ProviderName",
    "ServiceName",
)
"""Columns that FOCUS 1.0 to 1.2 requires of every export and that the ledger uses."""

OPTIONAL = ("SubAccountId", "RegionId", "RegionName")

_CANONICAL = {name.lower(): name for name in (*REQUIRED, *OPTIONAL)}
_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_CHUNK_BYTES = 1 << 20

# Both regular expressions are for RE2, inside single quotes in SQL.
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_MOMENT = (
    r"^\d{4}-\d{2}-\d{2}([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?( ?UTC|Z|[+-]\d{2}(:?\d{2})?)?)?$"
)

# Fractions of a second are removed, because a cast could round them up to the next day. A time
# without a zone is UTC. TIMESTAMPTZ is used because a cast to TIMESTAMP ignores the offset.
_STAGE = r"""
CREATE OR REPLACE TEMP TABLE staging AS
SELECT
    coalesce(sub_account_id, billing_account_id) AS account_id,
    billing_account_id,
    CASE
        WHEN lower(provider) IN ('aws', 'amazon', 'amazon web services') THEN 'aws'
        WHEN lower(provider) IN ('microsoft', 'azure', 'microsoft azure') THEN 'azure'
        WHEN lower(provider) IN ('google cloud', 'gcp', 'google', 'google cloud platform')
            THEN 'gcp'
    END AS cloud_provider,
    service,
    coalesce(region_id, region_name) AS region,
    started,
    CASE WHEN regexp_matches(moment, '{moment}')
        THEN CAST(TRY_CAST(
            CASE WHEN regexp_matches(moment, '(Z|UTC|[T ].*[+-][0-9:]+)$') THEN moment
            WHEN length(moment) = 10 THEN moment || ' 00:00:00Z'
            ELSE moment || 'Z' END
        AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS DATE)
    END AS day,
    cost,
    regexp_matches(cost, '{number}') AS cost_is_number,
    currency
FROM (SELECT *, regexp_replace(started, '(:\d\d)\.\d+', '\1') AS moment FROM ({cells}))
"""

# Conditions on every staged row: FOCUS column, invalid value to show, condition, error message.
_ROW_CHECKS = (
    ("SubAccountId", "''", "account_id IS NOT NULL", "is missing, and so is BillingAccountId"),
    ("BillingCurrency", "''", "currency IS NOT NULL", "is missing"),
    ("ChargePeriodStart", "started", "day IS NOT NULL", "is not an ISO 8601 date and time"),
    ("BilledCost", "cost", "coalesce(cost_is_number, false)", "is not an exact number"),
)

# Digits that the distinct amounts need before and after the decimal point; zero needs none.
_DIGIT_COUNTS = r"""
WITH text AS (SELECT DISTINCT lower(ltrim(cost, '+-')) AS cost FROM staging),
parts AS (
    SELECT split_part(split_part(cost, 'e', 1), '.', 1) AS whole,
        rtrim(split_part(split_part(cost, 'e', 1), '.', 2), '0') AS fraction,
        coalesce(TRY_CAST(split_part(cost, 'e', 2) AS INTEGER), 0) AS exponent
    FROM text
)
SELECT coalesce(max(greatest(length(ltrim(whole, '0')) + exponent, 0)), 0),
    coalesce(max(greatest(length(fraction) - exponent, 0)), 0)
FROM parts WHERE trim(whole || fraction, '0') <> ''
"""


class Problem(NamedTuple):
    """Error in a file: the column, or None for an error of the whole file, and a message."""

    column: str | None
    message: str


class FocusError(ValueError):
    """File that cannot be read exactly and completely as a FOCUS export.

    Attributes:
        path: the file.
        problems: all errors that were found, at least one.
    """

    def __init__(self, path: Path, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems: tuple[Problem, ...] = tuple(problems)
        text = "; ".join(" ".join(filter(None, problem)) for problem in self.problems)
        super().__init__(f"{path}: {text}")


class StagedFile(NamedTuple):
    """Validated file in the temporary table `staging` of a cursor.

    Attributes:
        row_count: the number of rows of the file.
        integer_digits: the maximum number of digits of an amount before the decimal point.
        scale: the maximum number of digits of an amount after the decimal point.
    """

    row_count: int
    integer_digits: int
    scale: int


def is_export(path: Path) -> bool:
    """Return True if the file has the suffix of an export: .csv, .csv.gz or .parquet."""
    return path.name.lower().endswith(_SUFFIXES)


def digest(path: Path) -> str:
    """Return the SHA-256 of the file's bytes.

    Raises:
        FocusError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def stage(cursor: Cursor, path: Path) -> StagedFile:
    """Read a file into the temporary table `staging` and validate every row.

    Columns: account_id, billing_account_id, cloud_provider, service, region, day, currency, and
    cost as the text of an exact number.

    Raises:
        FocusError: the file cannot be read, lacks columns, or has rows that cannot be read
            exactly.
    """
    if not is_export(path):
        raise FocusError(path, [Problem(None, f"must have a suffix of {', '.join(_SUFFIXES)}")])
    try:
        cells = _cells_query(cursor, path)
        cursor.execute(
            _STAGE.format(cells=cells, number=_NUMBER, moment=_MOMENT),
            # DuckDB treats a path as a pattern: without escaping, 'a[1].csv' would read 'a1.csv'.
            [glob.escape(str(path))],
        )
    except (OSError, EOFError, zlib.error, UnicodeError, csv.Error, duckdb.Error) as error:
        raise _unreadable(path, error) from error
    row_count, problems = _check_rows(cursor)
    if problems:
        raise FocusError(path, problems)
    integer_digits, scale = one_row(cursor.execute(_DIGIT_COUNTS))
    return StagedFile(row_count, integer_digits, scale)


def _check_rows(cursor: Cursor) -> tuple[int, list[Problem]]:
    counts = ", ".join(
        f"count(*) FILTER (NOT {valid}), min({value}) FILTER (NOT {valid})"
        for _, value, valid, _ in _ROW_CHECKS
    )
    row_count, *results = one_row(cursor.execute(f"SELECT count(*), {counts} FROM staging"))
    problems = []
    for (column, _, _, message), invalid_count, sample in zip(
        _ROW_CHECKS, results[::2], results[1::2], strict=True
    ):
        if invalid_count:
            example = f", such as {sample!r}" if sample else ""
            text = f"{message} in {invalid_count} of {row_count} rows{example}"
            problems.append(Problem(column, text))
    return row_count, problems


def _cells_query(cursor: Cursor, path: Path) -> str:
    """Return SQL that reads the needed columns as text; the path is its only parameter."""
    if path.name.lower().endswith(".parquet"):
        described = cursor.execute(
            "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)",
            [glob.escape(str(path))],
        )
        names = [row[0] for row in described.fetchall()]
        present = _find_columns(path, names)
        source = "read_parquet(?, hive_partitioning = false)"
    else:
        names = _csv_header(path)
        present = _find_columns(path, names)
        columns = ", ".join(
            f"'{_CANONICAL.get(name.lower(), f'other {position}')}': 'VARCHAR'"
            for position, name in enumerate(names)
        )
        # The dialect is fixed: DuckDB's sniffer may skip lines, and decides from a sample only.
        source = (
            f"read_csv(?, columns = {{{columns}}}, auto_detect = false, header = true, "
            "delim = ',', quote = '\"', escape = '\"', nullstr = '')"
        )

    def cell(name: str) -> str:
        """Return SQL for a cell; exports write a missing value as no text, empty text or NULL."""
        if name not in present:
            return "CAST(NULL AS VARCHAR)"
        return f"nullif(nullif(CAST({name} AS VARCHAR), ''), 'NULL')"

    return (
        f"SELECT {cell('SubAccountId')} AS sub_account_id, "
        f"{cell('BillingAccountId')} AS billing_account_id, {cell('ProviderName')} AS provider, "
        f"{cell('ServiceName')} AS service, {cell('RegionId')} AS region_id, "
        f"{cell('RegionName')} AS region_name, {cell('ChargePeriodStart')} AS started, "
        f"{cell('BilledCost')} AS cost, {cell('BillingCurrency')} AS currency FROM {source}"
    )


def _find_columns(path: Path, names: Iterable[str]) -> set[str]:
    """Return the needed columns that the file has, by their FOCUS names.

    Raises:
        FocusError: a required column is missing, or a column occurs more than once.
    """
    found = [_CANONICAL[name.lower()] for name in names if name.lower() in _CANONICAL]
    problems = [Problem(name, "column is missing") for name in REQUIRED if name not in found]
    problems += [
        Problem(name, "column occurs more than once")
        for name in sorted(set(found))
        if found.count(name) > 1
    ]
    if problems:
        raise FocusError(path, problems)
    return set(found)


def _csv_header(path: Path) -> list[str]:
    """Return the names in the first line, and verify a compressed file to its end.

    DuckDB does not verify the checksum of a gzip file, so a damaged one could yield wrong amounts.
    """
    is_compressed = path.name.lower().endswith(".gz")
    with gzip.open(path, "rb") if is_compressed else path.open("rb") as file:
        # Only the first line may begin with a byte order mark.
        lines = (
            line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file)
        )
        header = next(csv.reader(lines, strict=True), [])
        while file.read(_CHUNK_BYTES):
            pass
    return header


def _unreadable(path: Path, error: BaseException) -> FocusError:
    """Return the error for a file that cannot be read, without its folder, hints or SQL."""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        message = re.split(r"\nLINE |\nPossible ", str(error))[0]
        reason = " ".join(message.split()).replace(f"{path.parent}/", "") or type(error).__name__
    return FocusError(path, [Problem(None, f"cannot be read: {reason}")])
