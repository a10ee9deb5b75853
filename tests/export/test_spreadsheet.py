"""CSV for spreadsheets: no text becomes a formula, and numbers stay numbers."""

import csv
import io
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import ConfigError, CostItem, CostQuery, Fetched
from spot_billing_async.export import COLUMNS, open_writer
from spot_billing_async.export.csv_text import without_formula

DAY = date(2025, 1, 1)
FORMULAS = ("=1+1", "+cmd|'/C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1")
NUMBERS = ("-1.5", "+1", "-.5", "-1.", "-1.5e-07", "+3E8")


def fetched(service: str, cost: str = "-1.5") -> Fetched[CostItem]:
    """Return an outcome with one item."""
    item = CostItem(account_id="0a", service=service, date=DAY, cost=Decimal(cost), currency="USD")
    return Fetched(
        CostQuery(account_id="0a", from_date=DAY, to_date=DAY, group_by="service"),
        [item],
        "r-1",
        1,
        0.1,
    )


async def written(path: Path, outcome: Fetched[CostItem], *, spreadsheet: bool) -> dict[str, str]:
    """Return the only row of a CSV file, by column."""
    async with open_writer(path, spreadsheet=spreadsheet) as writer:
        await writer.write(outcome)
    header, row = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))
    assert tuple(header) == COLUMNS
    return dict(zip(header, row, strict=True))


@pytest.mark.parametrize("text", FORMULAS)
async def test_a_formula_is_written_as_text_on_request(tmp_path: Path, text: str) -> None:
    """With `spreadsheet` an apostrophe precedes a formula; without it the text is unchanged."""
    path = tmp_path / "x.csv"
    row = await written(path, fetched(text), spreadsheet=True)
    assert row["service"] == f"'{text}"
    assert (row["cost"], row["account_id"], row["date"]) == ("-1.5", "0a", "2025-01-01")
    row = await written(path, fetched(text), spreadsheet=False)
    assert row["service"] == text


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_stays_a_number(text: str) -> None:
    """A sign does not make a number a formula."""
    assert without_formula(text) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_an_amount_is_never_changed(amount: Decimal) -> None:
    """Every finite amount, as exports and JSON write it, stays as it is."""
    for text in (format(amount, "f"), str(amount)):
        assert without_formula(text) == text


@given(
    st.text(
        st.sampled_from("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'0.5eE ") | st.characters(), max_size=6
    )
)
def test_no_cell_starts_like_a_formula(text: str) -> None:
    """A cell starts like a formula only where the whole cell is a number."""
    cell = without_formula(text)
    assert cell in {text, f"'{text}"}
    if cell[:1] and cell[0] in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20":
        assert cell[0] in "+-"
        assert Decimal(cell).is_finite()


@pytest.mark.parametrize("path", ["-", "x.jsonl", "x.parquet"])
def test_other_formats_have_no_formulas(path: str) -> None:
    """The option is refused for a format that is not CSV, which it would not change."""
    with pytest.raises(ConfigError, match=r"spreadsheet must be False unless .* got True for"):
        open_writer(path, spreadsheet=True)
    with pytest.raises(ConfigError, match="spreadsheet must be True or False, got 'yes'"):
        open_writer("x.csv", spreadsheet="yes")  # type: ignore[arg-type]  # it is refused
