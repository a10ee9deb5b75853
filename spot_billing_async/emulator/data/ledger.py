"""The ledger: charges by account, service, region, day and currency, exact.

Charges are kept summed to the day. A file is in the ledger once, however often and by whichever way
it was given: read again, it replaces what it brought before.
"""
# ruff: noqa: S608 - SQL is put together from constants of this package; values are bound

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
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
    Staged,
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

_MEMBERS = """
LEFT JOIN (
    SELECT name AS family, family_id, unnest(account_ids) AS account_id FROM family
) AS member USING (account_id)
"""

# Left out where the rows of a group come from more than one provider, or from another than the
# three that the contract knows.
_PROVIDER = """
CASE WHEN count(cloud_provider) = count(*) AND min(cloud_provider) = max(cloud_provider)
THEN min(cloud_provider) END
"""


class CostFilter(NamedTuple):
    """What a cost query asks for; None leaves a side open. Days are inclusive at both ends."""

    account_id: str | None = None
    from_date: date | None = None
    to_date: date | None = None
    group_by: GroupBy | None = None


class Source(NamedTuple):
    """A file of the ledger: its number, and how many rows it has."""

    source_id: int
    row_count: int


def is_empty(cursor: Cursor) -> bool:
    """Whether nothing was ever ingested."""
    return one_row(cursor.execute("SELECT count(*) FROM source"))[0] == 0


def add_source(
    cursor: Cursor, path: str, content: str, bucket: str | None, row_count: int
) -> Source:
    """Enter a file into the list of sources, in place of what `path` brought before."""
    _remove(cursor, "path = ?", [path])
    (source_id,) = one_row(cursor.execute("SELECT nextval('source_number')"))
    cursor.execute(
        "INSERT INTO source VALUES (?, ?, ?, ?, ?)", [source_id, path, content, bucket, row_count]
    )
    return Source(source_id, row_count)


def ingest(cursor: Cursor, path: Path, bucket: str | None = None) -> Source:
    """Take a FOCUS export into the ledger, unless it is there with the same content.

    Raises:
        FocusError: the file, or its sum with what is there, can't be kept exactly.
    """
    path = path.resolve()
    content = digest(path)
    known = cursor.execute(
        "SELECT source_id, row_count FROM source WHERE path = ? AND digest = ?",
        [str(path), content],
    ).fetchone()
    if known is not None:
        return Source(*known)
    staged = stage(cursor, path)
    source = add_source(cursor, str(path), content, bucket, staged.row_count)
    try:
        scale = fitting_scale(cursor, path, staged)
        if scale > _present_scale(cursor):
            cursor.execute(f"ALTER TABLE charge ALTER cost TYPE DECIMAL({MAX_DIGITS}, {scale})")
        _add_staged(cursor, source.source_id, scale)
        _prove_sums(cursor)
    except duckdb.Error as error:
        raise FocusError(path, [_too_wide(str(error))]) from error
    finally:
        with suppress(duckdb.Error):  # in a transaction that failed, undoing it drops the table
            cursor.execute("DROP TABLE staging")
    return source


def ingest_bucket(cursor: Cursor, bucket: str, paths: Sequence[Path]) -> list[Source]:
    """Make the ledger hold exactly these exports of a bucket; files that left it leave the ledger.

    Raises:
        FocusError: one of them can't be read; the transaction must then be undone.
    """
    sources = [ingest(cursor, path, bucket) for path in paths]
    present = [source.source_id for source in sources]
    _remove(cursor, "bucket = ? AND NOT list_contains(?, source_id)", [bucket, present])
    return sources


def forget_unlinked_buckets(cursor: Cursor) -> None:
    """Drop what came from buckets that no setup names any more."""
    _remove(cursor, "bucket NOT IN (SELECT bucket FROM setup WHERE bucket IS NOT NULL)", [])


def totals(cursor: Cursor) -> dict[str, Decimal]:
    """The exact sum of everything ingested, by currency."""
    rows = cursor.execute(
        f"SELECT currency, {_text('sum(cost)')} FROM charge GROUP BY currency ORDER BY currency"
    ).fetchall()
    return {currency: Decimal(total) for currency, total in rows}


def has_account(cursor: Cursor, account_id: str) -> bool:
    """Whether an account occurs in the ledger or was set up."""
    (count,) = one_row(
        cursor.execute(
            "SELECT (SELECT count(*) FROM account WHERE account_id = $id)"
            " + (SELECT count(*) FROM setup WHERE billing_account_id = $id)",
            {"id": account_id},
        )
    )
    return count > 0


def accounts(cursor: Cursor, account_id: str | None) -> list[dict[str, Any]]:
    """The accounts of the ledger, and those set up that have no charges yet, by id.

    The statuses are assumptions: the contract promises a string and names none.
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
    return [_known(zip(names, row, strict=True)) for row in rows]


def costs(cursor: Cursor, asked: CostFilter, most: int = -1) -> list[tuple[Any, ...]]:
    """Rows of cost analysis, ordered by day, group and currency; the first `most` of them, or all.

    A row stands for a day, a value of the dimension and a currency. Values that the bill leaves
    open, and accounts in no family, come under null.
    """
    conditions, parameters = _conditions(asked)
    names = "".join(f"{name}, " for name in _DIMENSIONS[asked.group_by])
    found = cursor.execute(
        f"""
        SELECT {names} day, currency, {_text("sum(cost)")}, {_PROVIDER}
        FROM charge {_MEMBERS if asked.group_by == "family" else ""}
        WHERE {conditions}
        GROUP BY {names} day, currency
        ORDER BY day, {names} currency
        """,
        parameters,
    )
    rows: list[tuple[Any, ...]] = found.fetchall() if most < 0 else found.fetchmany(most)
    return rows


def cost_days(rows: Sequence[tuple[Any, ...]], asked: CostFilter) -> Sequence[tuple[Any, ...]]:
    """Those of the rows, which are the same question's over all time, that are of its days."""
    day = itemgetter(len(_DIMENSIONS[asked.group_by]))
    start = 0 if asked.from_date is None else bisect_left(rows, asked.from_date, key=day)
    end = len(rows) if asked.to_date is None else bisect_right(rows, asked.to_date, key=day)
    return rows[start:end]


def cost_item(asked: CostFilter) -> Callable[[tuple[Any, ...]], dict[str, Any]]:
    """What makes an item of a row of cost analysis."""
    fixed = {} if asked.account_id is None else {"accountId": asked.account_id}
    keys = tuple(_JSON_NAMES[name] for name in _DIMENSIONS[asked.group_by])

    def item(row: tuple[Any, ...]) -> dict[str, Any]:
        *group, day, currency, cost, cloud_provider = row
        known = {} if cloud_provider is None else {"cloudProvider": cloud_provider}
        grouped = dict(zip(keys, group, strict=True))
        return fixed | grouped | known | {"date": day, "cost": Decimal(cost), "currency": currency}

    return item


def _conditions(asked: CostFilter) -> tuple[str, list[object]]:
    sides = (
        ("account_id = ?", asked.account_id),
        ("day >= ?", asked.from_date),
        ("day <= ?", asked.to_date),
    )
    used = [(condition, value) for condition, value in sides if value is not None]
    return " AND ".join(["true", *(condition for condition, _ in used)]), [v for _, v in used]


def fitting_scale(cursor: Cursor, path: Path, staged: Staged) -> int:
    """How many decimals the ledger's amounts need to hold the staged ones beside their own.

    Raises:
        FocusError: no DECIMAL has the digits before and after the point.
    """
    scale = max(_present_scale(cursor), staged.scale)
    (largest,) = one_row(cursor.execute(f"SELECT {_text('max(abs(cost))')} FROM charge"))
    whole = max(staged.whole, len(str(largest or "0").partition(".")[0].lstrip("0")))
    if whole + scale > MAX_DIGITS:
        raise FocusError(path, [_too_wide(f"{whole} before and {scale} after the point")])
    return scale


def _present_scale(cursor: Cursor) -> int:
    (present,) = one_row(
        cursor.execute(
            "SELECT numeric_scale FROM information_schema.columns"
            " WHERE table_name = 'charge' AND column_name = 'cost'"
        )
    )
    return int(present)


def _add_staged(cursor: Cursor, source_id: int, scale: int) -> None:
    exact = f"CAST(cost AS DECIMAL({MAX_DIGITS}, {scale}))"
    _prove_exact(cursor, exact)
    cursor.execute(
        f"""
        INSERT INTO charge
        SELECT ?, account_id, cloud_provider, service, region, day, currency, sum({exact})
        FROM staging GROUP BY ALL ORDER BY account_id, day
        """,
        [source_id],
    )
    cursor.execute(
        "INSERT INTO account SELECT DISTINCT ?, account_id, billing_account_id, cloud_provider"
        " FROM staging",
        [source_id],
    )


def _prove_sums(cursor: Cursor) -> None:
    """See that no sum over any part of the ledger has too many digits: none exceeds this one.

    Raises:
        duckdb.Error: there is one.
    """
    cursor.execute("SELECT sum(abs(cost)) FROM charge").fetchone()


def _prove_exact(cursor: Cursor, exact: str) -> None:
    """Read the amounts back: a cast rounds without a word, so its digits must be those written.

    Raises:
        duckdb.Error: they are not.
    """
    written = "trim(regexp_replace(split_part(lower(cost), 'e', 1), '[-+.]', '', 'g'), '0')"
    kept = f"trim(regexp_replace(CAST({exact} AS VARCHAR), '[-.]', '', 'g'), '0')"
    (lost,) = one_row(
        cursor.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT cost FROM staging) WHERE {written} <> {kept}"
        )
    )
    if lost:
        raise duckdb.ConversionException(f"{lost} amounts would be rounded")


def _too_wide(detail: str) -> Problem:
    return Problem("BilledCost", f"needs more digits than the {MAX_DIGITS} there are: {detail}")


def _remove(cursor: Cursor, condition: str, parameters: list[object]) -> None:
    gone = [
        row[0]
        for row in cursor.execute(
            f"SELECT source_id FROM source WHERE {condition}", parameters
        ).fetchall()
    ]
    for table in ("charge", "account", "source") if gone else ():
        cursor.execute(f"DELETE FROM {table} WHERE list_contains(?, source_id)", [gone])


def _text(amount: str) -> str:
    """SQL for an amount's shortest text; DECIMALs here always have a point (see store.py)."""
    return f"rtrim(rtrim(CAST({amount} AS VARCHAR), '0'), '.')"


def _known(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}
