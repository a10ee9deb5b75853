"""Exact rows in JSON lines, CSV, Parquet and Arrow."""

import asyncio
import csv
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import CostItem, CostQuery, Fetched
from spot_billing_async.export import COLUMNS, ExportError, open_writer
from spot_billing_async.export.arrow import to_arrow

MakeFetched = Callable[..., Fetched[CostItem]]

EXPECTED = {
    "query_account_id": "011254002932",
    "query_from": "2018-10-01",
    "query_to": "2018-10-31",
    "group_by": "service",
    "account_id": "011254002932",
    "cloud_provider": "aws",
    "service": 'Ä "b", c',
    "region": None,
    "family_id": None,
    "family": None,
    "date": "2018-10-02",
    "cost": "-0.000000512345678901234567",
    "currency": "USD",
    "request_id": "req-1",
}
SERVICE = str(EXPECTED["service"])


async def write(path: Path, *outcomes: Fetched[CostItem]) -> None:
    async with open_writer(path) as writer:
        for outcome in outcomes:
            await writer.write(outcome)


def costs_in(path: Path) -> list[Decimal | None]:
    """Read the amounts of a file without this package."""
    match path.suffix:
        case ".jsonl":
            texts = [json.loads(line)["cost"] for line in path.read_text("utf-8").splitlines()]
        case ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                texts = [row["cost"] or None for row in csv.DictReader(file)]
        case _:
            texts = pq.read_table(path).column("cost").to_pylist()
    return [None if text is None else Decimal(text) for text in texts]


async def test_a_json_line_is_an_item_with_all_columns(
    tmp_path: Path, fetched: MakeFetched
) -> None:
    """A JSON line has the columns in order, the cost as text without exponent, and ISO dates."""
    await write(tmp_path / "x.jsonl", fetched("-5.12345678901234567E-7", service=SERVICE))
    (line,) = (tmp_path / "x.jsonl").read_bytes().splitlines()
    assert list(json.loads(line).items()) == list(EXPECTED.items())
    assert tuple(EXPECTED) == COLUMNS


async def test_a_csv_record_is_an_item_with_all_columns(
    tmp_path: Path, fetched: MakeFetched
) -> None:
    """A CSV file has a header, RFC 4180 line ends and quotes, and empty fields for no value."""
    await write(tmp_path / "x.CSV", fetched("-5.12345678901234567E-7", service=SERVICE))
    header, record, rest = (tmp_path / "x.CSV").read_bytes().decode().split("\r\n")
    assert header.split(",") == list(COLUMNS)
    assert '"Ä ""b"", c"' in record
    assert rest == ""
    (row,) = csv.DictReader([header, record])
    assert row == {name: value or "" for name, value in EXPECTED.items()}


async def test_a_parquet_row_is_an_item_with_all_columns(
    tmp_path: Path, fetched: MakeFetched
) -> None:
    """A Parquet file has strings, date32, and decimal128(38, 18) if no amount needs more."""
    await write(tmp_path / "x.parquet", fetched("1E+3", "2"))
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column_names == list(COLUMNS)
    assert table.schema.field("cost").type == pa.decimal128(38, 18)
    assert table.schema.field("date").type == pa.date32()
    assert table.schema.field("account_id").type == pa.string()
    assert table.column("cost").to_pylist() == [Decimal(1000), Decimal(2)]
    first = table.slice(0, 1).to_pylist()[0]
    assert first["account_id"] == "011254002932"
    assert (first["query_from"], first["date"]) == (date(2018, 10, 1), date(2018, 10, 2))
    assert first["region"] is None


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
async def test_a_pull_without_rows_makes_a_readable_file(tmp_path: Path, ending: str) -> None:
    """A pull without rows writes a valid file that has no rows."""
    path = tmp_path / f"x{ending}"
    await write(path, Fetched(CostQuery(), [], None, 1, 0.0))
    assert costs_in(path) == []


async def test_a_pull_without_outcomes_keeps_the_earlier_file(tmp_path: Path) -> None:
    """A pull without any fetched slice writes no file and keeps an earlier one."""
    path = tmp_path / "x.csv"
    await write(path)
    assert not path.exists()
    path.write_text("earlier")
    await write(path)
    assert path.read_text() == "earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
@given(
    amounts=st.lists(
        st.builds(
            lambda digits, places: Decimal(digits).scaleb(-places),
            st.integers(-(10**17), 10**17),
            st.integers(0, 20),
        ),
        max_size=20,
    )
)
def test_every_amount_is_read_back_exactly(ending: str, amounts: list[Decimal]) -> None:
    """Every amount is read back exactly, in every format."""
    items = [CostItem(cost=amount) for amount in amounts]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        asyncio.run(write(path, Fetched(CostQuery(), items, None, 1, 0.0)))
        assert costs_in(path) == amounts


@pytest.mark.parametrize("zeros", range(30, 130))
def test_many_trailing_zeros_change_no_amount(zeros: int, fetched: MakeFetched) -> None:
    """Trailing zeros do not change an amount, although Arrow itself converts some to 0."""
    amount = Decimal("7.25" + "0" * zeros)
    table = to_arrow([fetched(str(amount))])
    assert table["cost"].to_pylist() == [Decimal("7.25")]


def test_trailing_zeros_need_no_decimals() -> None:
    """An amount that fits without its trailing zeros is stored exactly."""
    amounts = [Decimal("123456789012345." + "0" * 30), Decimal("0E+40"), Decimal("0.10")]
    items = [CostItem(cost=amount) for amount in amounts]
    table = to_arrow([Fetched(CostQuery(), items, None, 1, 0.0)])
    assert table.column("cost").to_pylist() == amounts


async def test_a_finer_amount_widens_the_whole_file(tmp_path: Path, fetched: MakeFetched) -> None:
    """An amount of 28 decimals widens the column, including the rows already written."""
    path = tmp_path / "x.parquet"
    many = fetched(*["1.5"] * 40_000)
    fine = fetched("-0.0000000000000000000000000001")
    await write(path, many, fine, many, fetched("9999999999.5"))
    table = pq.read_table(path)
    assert table.schema.field("cost").type == pa.decimal128(38, 28)
    costs = table.column("cost").to_pylist()
    assert costs.count(Decimal("1.5")) == 80_000
    assert Decimal("-1E-28") in costs
    assert len(costs) == 80_002
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.parquet"]


async def test_row_groups_are_bounded(tmp_path: Path, fetched: MakeFetched) -> None:
    """A huge slice is split into row groups, which bound the memory of writer and reader."""
    path = tmp_path / "x.parquet"
    await write(path, fetched(*["1"] * 100_000))
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert sum(groups) == 100_000
    assert max(groups) <= 65_536


@pytest.mark.parametrize(
    ("before", "amount", "named"),
    [
        ((), "123456789012345678901.5", "123456789012345678901.5"),
        ((), "1E-39", "0." + "0" * 38 + "1"),
        ((), "NaN", "NaN"),
        (("12345678901234567890",), "0.0000000000000000001", "12345678901234567890"),
    ],
)
async def test_an_amount_that_does_not_fit_is_named(
    tmp_path: Path, fetched: MakeFetched, before: tuple[str, ...], amount: str, named: str
) -> None:
    """An amount that does not fit the decimal128 of the others is named; no file is left."""
    with pytest.raises(ExportError, match=named):
        await write(tmp_path / "x.parquet", fetched(*before, amount))
    assert list(tmp_path.iterdir()) == []


async def test_amounts_of_two_batches_that_do_not_fit_are_an_error(
    tmp_path: Path, fetched: MakeFetched
) -> None:
    """A large amount and a later one with more decimals are an error, and are not rounded."""
    large = fetched(*["12345678901234567890"] * 65_536)
    with pytest.raises(ExportError, match="20 decimals"):
        await write(tmp_path / "x.parquet", large, fetched("1E-20"))
    assert list(tmp_path.iterdir()) == []


def test_to_arrow_returns_the_table_of_a_parquet_file(fetched: MakeFetched) -> None:
    """`to_arrow` returns the rows of all outcomes, with one exact type for all amounts."""
    table = to_arrow([fetched("1.10", "2"), fetched(), fetched("1E-25")])
    assert table.schema.field("cost").type == pa.decimal128(38, 25)
    assert table.column("cost").to_pylist() == [Decimal("1.1"), Decimal(2), Decimal("1E-25")]
    assert table.column("request_id").to_pylist() == ["req-1"] * 3
    assert to_arrow([]).num_rows == 0
