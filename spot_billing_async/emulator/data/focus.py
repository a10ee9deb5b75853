"""FOCUS exports: which files they are, how their columns map, and what makes one unreadable.

FOCUS is the FinOps Foundation's format of cloud bills. Every value is read as text and checked
before it is cast, so that nothing is rounded, guessed or dropped: a file is read whole or refused.
"""
# ruff: noqa: S608 - SQL is put together from constants of this package; values are bound

import csv
import glob
import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple, cast

import duckdb

from spot_billing_async.emulator.data.database import Cursor, one_row

MAX_DIGITS = 38
"""Digits of DuckDB's widest DECIMAL, before and after the point together."""

REQUIRED = (
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "ChargePeriodStart",
    "ProviderName",
    "ServiceName",
)
"""Columns that FOCUS 1.0 to 1.2 demand of every export and the ledger lives on."""

OPTIONAL = ("SubAccountId", "RegionId", "RegionName")

_CANONICAL = {name.lower(): name for name in (*REQUIRED, *OPTIONAL)}
_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_CHUNK_BYTES = 1 << 20

# Both regular expressions are for RE2, within single quotes in SQL.
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_MOMENT = (
    r"^\d{4}-\d{2}-\d{2}([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?( ?UTC|Z|[+-]\d{2}(:?\d{2})?)?)?$"
)

# A fraction of a second never changes the day, unless a cast rounds it up: it is cut off. A time
# without a zone is UTC. TIMESTAMPTZ, because a cast to TIMESTAMP ignores the offset.
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

# What every staged row must satisfy: FOCUS column, the value at fault, the condition, what is said.
_ROW_CHECKS = (
    ("SubAccountId", "''", "account_id IS NOT NULL", "is missing, and so is BillingAccountId"),
    ("BillingCurrency", "''", "currency IS NOT NULL", "is missing"),
    ("ChargePeriodStart", "started", "day IS NOT NULL", "is not an ISO 8601 date and time"),
    ("BilledCost", "cost", "coalesce(cost_is_number, false)", "is not an exact number"),
)

# Digits that the distinct amounts need before and after the point; zero needs none.
_WIDTHS = r"""
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
    """What is wrong with a file: the column, where it is about one, and what to say of it."""

    column: str | None
    message: str


class FocusError(ValueError):
    """A file is no FOCUS export that can be read exactly and completely.

    Attributes:
        path: the file.
        problems: all that was found, at least one.
    """

    def __init__(self, path: Path, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        said = "; ".join(" ".join(filter(None, problem)) for problem in self.problems)
        super().__init__(f"{path}: {said}")


class Staged(NamedTuple):
    """A file that lies checked in the temporary table `staging` of a cursor.

    Attributes:
        row_count: rows of the file.
        whole: the most digits an amount has before the point.
        scale: the most digits an amount has after the point.
    """

    row_count: int
    whole: int
    scale: int


def is_export(path: Path) -> bool:
    """Whether a file's name says that it is one: .csv, .csv.gz or .parquet."""
    return path.name.lower().endswith(_SUFFIXES)


def digest(path: Path) -> str:
    """SHA-256 of the file as it lies on disk.

    Raises:
        FocusError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def stage(cursor: Cursor, path: Path) -> Staged:
    """Read a file into the temporary table `staging`, every row checked.

    Columns: account_id, billing_account_id, cloud_provider, service, region, day, currency, and
    cost as the text of an exact number.

    Raises:
        FocusError: it can't be read, lacks columns, or holds rows that can't be read exactly.
    """
    if not is_export(path):
        raise FocusError(path, [Problem(None, f"is none of {', '.join(_SUFFIXES)}")])
    try:
        cells = _cells(cursor, path)
        cursor.execute(
            _STAGE.format(cells=cells, number=_NUMBER, moment=_MOMENT),
            # DuckDB takes a path for a pattern: without this, 'a[1].csv' would read 'a1.csv'.
            [glob.escape(str(path))],
        )
    except (OSError, EOFError, zlib.error, UnicodeError, csv.Error, duckdb.Error) as error:
        raise _unreadable(path, error) from error
    row_count, problems = _check_rows(cursor)
    if problems:
        raise FocusError(path, problems)
    whole, scale = one_row(cursor.execute(_WIDTHS))
    return Staged(row_count, whole, scale)


def _check_rows(cursor: Cursor) -> tuple[int, list[Problem]]:
    counts = ", ".join(
        f"count(*) FILTER (NOT {good}), min({value}) FILTER (NOT {good})"
        for _, value, good, _ in _ROW_CHECKS
    )
    row_count, *found = one_row(cursor.execute(f"SELECT count(*), {counts} FROM staging"))
    problems = []
    for (column, _, _, message), bad, sample in zip(
        _ROW_CHECKS, found[::2], found[1::2], strict=True
    ):
        if bad:
            example = f", such as {sample!r}" if sample else ""
            problems.append(Problem(column, f"{message} in {bad} of {row_count} rows{example}"))
    return row_count, problems


def _cells(cursor: Cursor, path: Path) -> str:
    """SQL that reads the columns of use as text, from the path bound to it."""
    if path.name.lower().endswith(".parquet"):
        described = cursor.execute(
            "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)",
            [glob.escape(str(path))],
        )
        names = [row[0] for row in described.fetchall()]
        present = _present(path, names)
        source = "read_parquet(?, hive_partitioning = false)"
    else:
        names = _csv_header(path)
        present = _present(path, names)
        columns = ", ".join(
            f"'{_CANONICAL.get(name.lower(), f'other {position}')}': 'VARCHAR'"
            for position, name in enumerate(names)
        )
        # The dialect is said, not sniffed: a sniffer skips lines and changes its mind on a sample.
        source = (
            f"read_csv(?, columns = {{{columns}}}, auto_detect = false, header = true, "
            "delim = ',', quote = '\"', escape = '\"', nullstr = '')"
        )

    def cell(name: str) -> str:
        """Exports write a missing value as nothing, as an empty text, or as the word NULL."""
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


def _present(path: Path, names: Iterable[str]) -> set[str]:
    """Which columns of use the file has.

    Raises:
        FocusError: a required one is missing, or one occurs twice.
    """
    known = [_CANONICAL[name.lower()] for name in names if name.lower() in _CANONICAL]
    problems = [
        Problem(name, "is a column that is missing") for name in REQUIRED if name not in known
    ]
    problems += [
        Problem(name, "is a column that occurs twice")
        for name in sorted(set(known))
        if known.count(name) > 1
    ]
    if problems:
        raise FocusError(path, problems)
    return set(known)


def _csv_header(path: Path) -> list[str]:
    """The names in the first line; a compressed file is checked to its end on the way.

    DuckDB does not compare a gzip file's checksum, so a damaged one could be read as other money.
    """
    with closing(_open_binary(path)) as file:
        lines = csv.reader(_text_lines(file), strict=True)
        header = next(lines, [])
        while file.read(_CHUNK_BYTES):
            pass
    return header


def _text_lines(file: IO[bytes]) -> Iterator[str]:
    encoding = "utf-8-sig"
    for line in file:
        yield line.decode(encoding)
        encoding = "utf-8"


def _open_binary(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def _unreadable(path: Path, error: BaseException) -> FocusError:
    """Why a file can't be read, told without its folder, DuckDB's advice, or a line of SQL."""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        told = re.split(r"\nLINE |\nPossible ", str(error))[0]
        reason = " ".join(told.split()).replace(f"{path.parent}/", "") or type(error).__name__
    return FocusError(path, [Problem(None, f"can't be read: {reason}")])
