"""Ledger of exact charges by account, service, region, day and currency.

Charges are stored as daily sums. The ledger holds each file once: if a file is ingested again, its
new rows replace the earlier ones.
"""
# ruff: noqa: S608  SQL is built from constants of this package; values are bound

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from spot_billing_async.emulator.data.database import Cursor, one_row
from spot_billing_async.emulator.data.focus import (
    MAX_DIGITS,
    FocusError,
    Problem,
    StagedFile,
    digest,
    stage,
)
from spot_billing_async.models import GroupBy

_DIMENSIONS: dict[GroupBy | None, tuple[str, ...]] = {
    None: (),
    "account": ("account_id",),
    "service": ("service",),
    "region": ("region",),
    "family": ("family", "family_id"),
}

_JSON_NAMES = {
    "account_id": "accountId",
    "service": "service",
    "region": "region",
    "family": "family",
    "family_id": "familyId",
}

_JOIN_FAMILIES = """
LEFT JOIN (
    SELECT name AS family, family_id, unnest(account_ids) AS account_id FROM family
) AS member USING (account_id)
"""

# NULL if the rows of a group come from more than one provider, or from one that is not among the
# three of the contract.
_PROVIDER = """
CASE WHEN count(cloud_provider) = count(*) AND min(cloud_provider) = max(cloud_provider)
THEN min(cloud_provider) END
"""


class CostFilter(NamedTuple):
    """Parameters of a cost query; None does not restrict. Both dates are inclusive."""

    account_id: str | None = None
    from_date: date | None = None
    to_date: date | None = None
    group_by: GroupBy | None = None


class Source(NamedTuple):
    """File in the ledger, with its number of rows."""

    source_id: int
    row_count: int


def is_empty(cursor: Cursor) -> bool:
    """Return True if the ledger has no sources."""
    return bool(one_row(cursor.execute("SELECT count(*) = 0 FROM source"))[0])


def add_source(
    cursor: Cursor, path: str, content_digest: str, bucket: str | None, row_count: int
) -> Source:
    """Register a file as a source, and remove the earlier rows of the same path."""
    _remove(cursor, "path = ?", [path])
    (source_id,) = one_row(cursor.execute("SELECT nextval('source_number')"))
    cursor.execute(
        "INSERT INTO source VALUES (?, ?, ?, ?, ?)",
        [source_id, path, content_digest, bucket, row_count],
    )
    return Source(source_id, row_count)


def ingest(
    cursor: Cursor, path: Path, bucket: str | None = None, content: Path | None = None
) -> Source:
    """Add a FOCUS export to the ledger, unless it is there with the same content.

    Args:
        cursor: a cursor in a transaction.
        path: the path under which the ledger holds the file.
        bucket: the bucket of the file, if any.
        content: the file to read; None for `path`.

    Raises:
        FocusError: the file, or its sum with the present charges, cannot be stored exactly.
    """
    path = path.resolve() if content is None else path
    content = content or path
    content_digest = digest(content)
    present = cursor.execute(
        "SELECT source_id, row_count FROM source WHERE path = ? AND digest = ?",
        [str(path), content_digest],
    ).fetchone()
    if present is not None:
        return Source(*present)
    staged = stage(cursor, content)
    source = add_source(cursor, str(path), content_digest, bucket, staged.row_count)
    try:
        scale = required_scale(cursor, content, staged)
        if scale > _current_scale(cursor):
            cursor.execute(f"ALTER TABLE charge ALTER cost TYPE DECIMAL({MAX_DIGITS}, {scale})")
        _insert_staged(cursor, source.source_id, scale)
        # Fails if a sum over any part of the ledger could have too many digits: this one is the
        # largest possible.
        cursor.execute("SELECT sum(abs(cost)) FROM charge").fetchone()
    except duckdb.Error as error:
        raise FocusError(content, [_too_many_digits(str(error))]) from error
    finally:
        with suppress(duckdb.Error):  # the rollback of a failed transaction drops the table
            cursor.execute("DROP TABLE staging")
    return source


def remove_absent(cursor: Cursor, bucket: str, sources: Sequence[Source]) -> None:
    """Remove the files of a bucket other than `sources` from the ledger."""
    present = [source.source_id for source in sources]
    _remove(cursor, "bucket = ? AND NOT list_contains(?, source_id)", [bucket, present])


def remove_unlinked_buckets(cursor: Cursor) -> None:
    """Remove the charges of buckets that are not linked by any setup."""
    _remove(cursor, "bucket NOT IN (SELECT bucket FROM setup WHERE bucket IS NOT NULL)", [])


def totals(cursor: Cursor) -> dict[str, Decimal]:
    """Return the exact sum of all ingested costs, by currency."""
    rows = cursor.execute(
        f"SELECT currency, {_text('sum(cost)')} FROM charge GROUP BY currency ORDER BY currency"
    ).fetchall()
    return {currency: Decimal(total) for currency, total in rows}


def has_account(cursor: Cursor, account_id: str) -> bool:
    """Return True if an account has charges or was set up."""
    (count,) = one_row(
        cursor.execute(
            "SELECT (SELECT count(*) FROM account WHERE account_id = $id)"
            " + (SELECT count(*) FROM setup WHERE billing_account_id = $id)",
            {"id": account_id},
        )
    )
    return bool(count)


def accounts(cursor: Cursor, account_id: str | None) -> list[dict[str, Any]]:
    """Return the accounts with charges and those set up but without charges, ordered by id.

    The statuses are assumptions: the contract defines a string without naming values.
    """
    rows = cursor.execute(
        f"""
        WITH charged AS (
            SELECT account_id, {_PROVIDER} AS cloud_provider, 'ACTIVE' AS status,
                CASE WHEN min(billing_account_id) = max(billing_account_id)
                THEN min(billing_account_id) END AS billing_account_id
            FROM account GROUP BY account_id
        )
        SELECT * FROM charged WHERE $id IS NULL OR account_id = $id
        UNION ALL
        SELECT billing_account_id, {_PROVIDER}, 'PENDING', billing_account_id
        FROM setup
        WHERE billing_account_id NOT IN (SELECT account_id FROM charged)
            AND ($id IS NULL OR billing_account_id = $id)
        GROUP BY billing_account_id
        ORDER BY account_id
        """,
        {"id": account_id},
    ).fetchall()
    names = ("accountId", "cloudProvider", "status", "billingAccountId")
    items = (zip(names, row, strict=True) for row in rows)
    return [{name: value for name, value in item if value is not None} for item in items]


def costs(
    cursor: Cursor, cost_filter: CostFilter, max_rows: int | None = None
) -> list[tuple[Any, ...]]:
    """Return rows of cost analysis, ordered by day, group and currency; at most `max_rows`.

    There is one row per day, value of the dimension and currency. Missing values in the bill, and
    accounts without a family, are grouped under null.
    """
    restrictions = (
        ("account_id = ?", cost_filter.account_id),
        ("day >= ?", cost_filter.from_date),
        ("day <= ?", cost_filter.to_date),
    )
    used = [(condition, value) for condition, value in restrictions if value is not None]
    conditions = " AND ".join(["true", *(condition for condition, _ in used)])
    parameters = [value for _, value in used]
    names = "".join(f"{name}, " for name in _DIMENSIONS[cost_filter.group_by])
    result = cursor.execute(
        f"""
        SELECT {names} day, currency, {_text("sum(cost)")}, {_PROVIDER}
        FROM charge {_JOIN_FAMILIES if cost_filter.group_by == "family" else ""}
        WHERE {conditions}
        GROUP BY {names} day, currency
        ORDER BY day, {names} currency
        """,
        parameters,
    )
    rows: list[tuple[Any, ...]]
    rows = result.fetchall() if max_rows is None else result.fetchmany(max_rows)
    return rows


def select_days(
    rows: Sequence[tuple[Any, ...]], cost_filter: CostFilter
) -> Sequence[tuple[Any, ...]]:
    """Return the rows within the dates of the filter; `rows` are those of all days, by day."""
    day = itemgetter(len(_DIMENSIONS[cost_filter.group_by]))
    start = (
        0 if cost_filter.from_date is None else bisect_left(rows, cost_filter.from_date, key=day)
    )
    end = (
        len(rows)
        if cost_filter.to_date is None
        else bisect_right(rows, cost_filter.to_date, key=day)
    )
    return rows[start:end]


def item_builder(cost_filter: CostFilter) -> Callable[[tuple[Any, ...]], dict[str, Any]]:
    """Return a function that converts a row of cost analysis to an item of the API."""
    fixed = {} if cost_filter.account_id is None else {"accountId": cost_filter.account_id}
    keys = tuple(_JSON_NAMES[name] for name in _DIMENSIONS[cost_filter.group_by])

    def item(row: tuple[Any, ...]) -> dict[str, Any]:
        *group, day, currency, cost, cloud_provider = row
        provider = {} if cloud_provider is None else {"cloudProvider": cloud_provider}
        grouped = dict(zip(keys, group, strict=True))
        return (
            fixed | grouped | provider | {"date": day, "cost": Decimal(cost), "currency": currency}
        )

    return item


def required_scale(cursor: Cursor, path: Path, staged: StagedFile) -> int:
    """Return the number of decimals for the amounts of the ledger and of a staged file together.

    Raises:
        FocusError: no DECIMAL has enough digits before and after the decimal point.
    """
    scale = max(_current_scale(cursor), staged.scale)
    (largest,) = one_row(cursor.execute(f"SELECT {_text('max(abs(cost))')} FROM charge"))
    present_digits = len(str(largest or "0").partition(".")[0].lstrip("0"))
    integer_digits = max(staged.integer_digits, present_digits)
    if integer_digits + scale > MAX_DIGITS:
        detail = f"{integer_digits} before and {scale} after the decimal point"
        raise FocusError(path, [_too_many_digits(detail)])
    return scale


def _current_scale(cursor: Cursor) -> int:
    (scale,) = one_row(
        cursor.execute(
            "SELECT numeric_scale FROM information_schema.columns"
            " WHERE table_name = 'charge' AND column_name = 'cost'"
        )
    )
    return int(scale)


def _insert_staged(cursor: Cursor, source_id: int, scale: int) -> None:
    amount = f"CAST(cost AS DECIMAL({MAX_DIGITS}, {scale}))"
    _check_exact(cursor, amount)
    cursor.execute(
        f"""
        INSERT INTO charge
        SELECT ?, account_id, cloud_provider, service, region, day, currency, sum({amount})
        FROM staging GROUP BY ALL ORDER BY account_id, day
        """,
        [source_id],
    )
    cursor.execute(
        "INSERT INTO account SELECT DISTINCT ?, account_id, billing_account_id, cloud_provider"
        " FROM staging",
        [source_id],
    )


def _check_exact(cursor: Cursor, amount: str) -> None:
    """Raise unless the cast `amount` keeps all digits: DuckDB rounds without an error.

    Raises:
        duckdb.Error: an amount would be rounded.
    """
    written = "trim(regexp_replace(split_part(lower(cost), 'e', 1), '[-+.]', '', 'g'), '0')"
    kept = f"trim(regexp_replace(CAST({amount} AS VARCHAR), '[-.]', '', 'g'), '0')"
    (rounded_count,) = one_row(
        cursor.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT cost FROM staging) WHERE {written} <> {kept}"
        )
    )
    if rounded_count:
        raise duckdb.ConversionException(f"{rounded_count} amounts would be rounded")


def _too_many_digits(detail: str) -> Problem:
    return Problem("BilledCost", f"needs more than {MAX_DIGITS} digits: {detail}")


def _remove(cursor: Cursor, condition: str, parameters: list[object]) -> None:
    removed = [
        row[0]
        for row in cursor.execute(
            f"SELECT source_id FROM source WHERE {condition}", parameters
        ).fetchall()
    ]
    for table in ("charge", "account", "source") if removed else ():
        cursor.execute(f"DELETE FROM {table} WHERE list_contains(?, source_id)", [removed])


def _text(amount: str) -> str:
    """Return SQL for an amount's shortest text; its scale is never 0 (see database.py)."""
    return f"rtrim(rtrim(CAST({amount} AS VARCHAR), '0'), '.')"
