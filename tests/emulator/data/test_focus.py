"""FOCUS exports: mapping of rows to the API, and files that are refused."""

import gzip
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spot_billing_async.emulator import Emulator, FocusError
from spot_billing_async.emulator.data.focus import is_export

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]


async def ingest_error(path: Path) -> FocusError:
    with pytest.raises(FocusError) as caught:
        async with Emulator(focus=[path]):
            pass
    return caught.value


def to_parquet(bill: Path, select: str = "*") -> Path:
    path = bill.with_suffix(".parquet")
    with duckdb.connect() as connection:
        connection.sql(
            f"SELECT {select} FROM read_csv('{bill}', all_varchar = true)"  # noqa: S608  a path of this test
        ).write_parquet(str(path))
    return path


async def test_a_row_is_mapped_to_the_fields_of_the_api(serve: Serve, bill: Bill) -> None:
    """Sub-account, service, region, day, cost, currency and provider come from their columns."""
    async with serve(focus=[bill({})]) as call:
        (service,) = await call.costs(accountId="007", groupBy="service")
        (region,) = await call.costs(groupBy="region")
        (account,) = (await call("GET", "/billingEngine/account")).items
    assert service == {
        "accountId": "007",
        "service": "Compute",
        "cloudProvider": "aws",
        "date": "2024-01-31",
        "cost": Decimal("1.25"),
        "currency": "USD",
    }
    assert region["region"] == "eu-1"
    assert account == {
        "accountId": "007",
        "cloudProvider": "aws",
        "status": "ACTIVE",
        "billingAccountId": "payer",
    }


@pytest.mark.parametrize("missing", ["NULL", ""])
async def test_a_missing_value_falls_back(serve: Serve, bill: Bill, missing: str) -> None:
    """The billing account replaces a missing sub-account, the region name a missing region id."""
    path = bill({"SubAccountId": missing, "RegionId": missing})
    async with serve(focus=[path]) as call:
        (item,) = await call.costs(groupBy="region", accountId="payer")
    assert item["region"] == "Europe 1"


@pytest.mark.parametrize(
    ("provider", "cloud"),
    [
        ("AWS", "aws"),
        ("Amazon Web Services", "aws"),
        ("Microsoft", "azure"),
        ("Google Cloud", "gcp"),
        ("Oracle", None),
        ("NULL", None),
    ],
)
async def test_providers_are_mapped_to_clouds(
    serve: Serve, bill: Bill, provider: str, cloud: str | None
) -> None:
    """A provider unknown to the contract is left out of responses, but its costs are not."""
    async with serve(focus=[bill({"ProviderName": provider})]) as call:
        (item,) = await call.costs()
        (account,) = (await call("GET", "/billingEngine/account")).items
    assert item.get("cloudProvider") == account.get("cloudProvider") == cloud
    assert item["cost"] == Decimal("1.25")


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2024-02-29", "2024-02-29"),
        ("2024-02-29 23:59:59", "2024-02-29"),
        ("2024-02-29T23:59:59.999999999", "2024-02-29"),
        ("2024-02-29T23:59:59.9999999Z", "2024-02-29"),
        ("2024-02-29 23:00:00 UTC", "2024-02-29"),
        ("2024-02-29T00:30:00+01:00", "2024-02-28"),
        ("2024-02-29T23:30:00-05", "2024-03-01"),
        ("2024-02-29T23:30-0530", "2024-03-01"),
    ],
)
async def test_a_charge_belongs_to_its_utc_day(
    serve: Serve, bill: Bill, moment: str, day: str
) -> None:
    """A time without a zone is UTC; offsets apply; fractions of a second are not rounded up."""
    path = bill({"ChargePeriodStart": moment})
    for file in (path, to_parquet(path)):
        async with serve(focus=[file]) as call:
            (item,) = await call.costs()
        assert item["date"] == day


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ"])
async def test_times_of_parquet(serve: Serve, bill: Bill, kind: str) -> None:
    """A typed time in a Parquet file means the same moment as its text."""
    path = bill({"ChargePeriodStart": "2024-02-29 23:59:59.9999999Z"})
    typed = to_parquet(path, f"* REPLACE (CAST(ChargePeriodStart AS {kind}) AS ChargePeriodStart)")
    async with serve(focus=[typed]) as call:
        (item,) = await call.costs()
    assert item["date"] == "2024-02-29"


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        (["5e-06"], "0.000005"),
        (["1.5E+3", "-.5", "+3", "7."], "1509.5"),
        (
            ["0.1234567890123456789012345678", "9999999999"],
            "9999999999.1234567890123456789012345678",
        ),
        (["-12.30", "12.3"], "0"),
        (["0e0", "-0.000", "1e-28"], "1e-28"),
        (["99999999999999999999999999.5"], "99999999999999999999999999.5"),
    ],
)
async def test_amounts_are_exact(serve: Serve, bill: Bill, amounts: list[str], total: str) -> None:
    """Amounts keep every digit, up to 28 decimals, with exponents and signs, without floats."""
    async with serve(focus=[bill(*({"BilledCost": amount} for amount in amounts))]) as call:
        (item,) = await call.costs()
        assert item["cost"] == Decimal(total)
        assert await call.server.ledger_totals() == {"USD": Decimal(total)}


async def test_amounts_of_a_double_column_are_their_shortest_text(serve: Serve, bill: Bill) -> None:
    """A DOUBLE 0.1 is read as 0.1, not as the 55 digits of its binary value."""
    path = bill({"BilledCost": "0.1"}, {"BilledCost": "0.2"}, {"BilledCost": "5e-06"})
    typed = to_parquet(path, "* REPLACE (CAST(BilledCost AS DOUBLE) AS BilledCost)")
    async with serve(focus=[typed]) as call:
        assert await call.server.ledger_totals() == {"USD": Decimal("0.300005")}


async def test_currencies_are_never_added(serve: Serve, bill: Bill) -> None:
    """A day with charges in two currencies has one row per currency."""
    async with serve(focus=[bill({}, {"BillingCurrency": "EUR", "BilledCost": "2"})]) as call:
        items = await call.costs()
    assert [(item["currency"], item["cost"]) for item in items] == [
        ("EUR", 2),
        ("USD", Decimal("1.25")),
    ]


@pytest.mark.parametrize(
    ("cells", "column", "text"),
    [
        ({"BilledCost": "1,2"}, "BilledCost", None),
        ({"BilledCost": "abc"}, "BilledCost", "'abc'"),
        ({"BilledCost": "1_000"}, "BilledCost", "'1_000'"),
        ({"BilledCost": "NaN"}, "BilledCost", "'NaN'"),
        ({"BilledCost": "NULL"}, "BilledCost", "1 of 2 rows"),
        ({"BilledCost": "1e-39"}, "BilledCost", "38"),
        ({"BilledCost": "1e38"}, "BilledCost", "38"),
        ({"ChargePeriodStart": "01/31/2024"}, "ChargePeriodStart", "'01/31/2024'"),
        ({"ChargePeriodStart": "2024-02-30"}, "ChargePeriodStart", "'2024-02-30'"),
        ({"ChargePeriodStart": "2024-01-01T24:00:00"}, "ChargePeriodStart", "1 of 2 rows"),
        ({"BillingCurrency": ""}, "BillingCurrency", "1 of 2 rows"),
        ({"SubAccountId": "", "BillingAccountId": ""}, "SubAccountId", "1 of 2 rows"),
    ],
)
async def test_a_row_that_cannot_be_read_exactly_is_refused(
    bill: Bill, cells: dict[str, str], column: str, text: str | None
) -> None:
    """The whole file is refused; the error shows file, column, number of rows and a sample."""
    path = bill({}, cells)
    error = await ingest_error(path)
    assert path.name in str(error)
    if text is None:
        assert "cannot be read" in str(error)
    else:
        assert [problem.column for problem in error.problems] == [column]
        assert text in str(error)


async def test_amounts_that_fit_alone_but_not_together_are_refused(bill: Bill) -> None:
    """Amounts with 26 digits before the point and 28 after exceed DuckDB's widest DECIMAL."""
    error = await ingest_error(bill({"BilledCost": "1e25"}, {"BilledCost": "1e-28"}))
    assert "38" in str(error)


async def test_a_sum_with_too_many_digits_is_refused(bill: Bill) -> None:
    """Amounts whose sum exceeds the widest DECIMAL are refused, as no query could sum them."""
    half = {"BilledCost": "9999999999999999999999999999.5"}
    error = await ingest_error(bill(*({**half, "ServiceName": f"s{i}"} for i in range(1100))))
    assert "38" in str(error)


@pytest.mark.parametrize("column", ["BilledCost", "ServiceName"])
async def test_missing_columns_are_named(bill: Bill, column: str) -> None:
    """A file without a required column is refused, and the error names the column."""
    path = bill({}, without=column)
    for file in (path, to_parquet(path)):
        error = await ingest_error(file)
        assert [problem.column for problem in error.problems] == [column]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("latin.csv", b"BilledCost\n\xe9\n"),
        ("none.parquet", b"PAR1"),
        ("none.csv.gz", b"BilledCost\n"),
        ("bill.xlsx", b"PK"),
    ],
)
async def test_a_file_in_another_format_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    """The emulator does not start on a file that is not an export; the error names the file."""
    path = tmp_path / name
    path.write_bytes(content)
    assert name in str(await ingest_error(path))


async def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The error of a wrong path says that the file does not exist."""
    assert "No such file" in str(await ingest_error(tmp_path / "gone.csv"))


@pytest.mark.parametrize("damage", ["cut", "flipped"])
async def test_a_damaged_gzip_file_is_refused(bill: Bill, damage: str) -> None:
    """A truncated file, or one with a wrong checksum, is never read as another bill."""
    whole = gzip.compress(bill(*({"BilledCost": str(n)} for n in range(9999))).read_bytes())
    if damage == "cut":
        content = whole[: len(whole) // 2]
    else:
        content = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]
    path = bill({}).with_suffix(".csv.gz")
    path.write_bytes(content)
    assert "cannot be read" in str(await ingest_error(path))


@pytest.mark.parametrize("row", ["1.25,payer", "a,b,c,d,e,f,g,h,i,j,k"])
async def test_a_row_of_another_length_is_refused(bill: Bill, row: str) -> None:
    """A row with too few or too many cells is refused, not padded, cut or skipped."""
    path = bill({})
    path.write_text(path.read_text() + row + "\n")
    assert "cannot be read" in str(await ingest_error(path))


async def test_a_path_is_not_a_pattern(serve: Serve, bill: Bill) -> None:
    """The path a[1].csv means that file, not a1.csv, which the pattern would match."""
    bill({"BilledCost": "100"}, name="a1.csv")
    async with serve(focus=[bill({}, name="a[1].csv")]) as call:
        assert await call.server.ledger_totals() == {"USD": Decimal("1.25")}


async def test_texts_of_a_bill_are_unchanged(serve: Serve, bill: Bill) -> None:
    """Quotes, commas, line ends and SQL in a cell are text; a byte order mark is ignored."""
    path = bill({"ServiceName": '"x\'); DROP TABLE charge; --, ""y""\nz"'})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    async with serve(focus=[path]) as call:
        (item,) = await call.costs(groupBy="service")
    assert item["service"] == 'x\'); DROP TABLE charge; --, "y"\nz'


async def test_a_file_given_twice_counts_once(serve: Serve, bill: Bill) -> None:
    """Two spellings of the same path are one source."""
    path = bill({})
    async with serve(focus=[path, path.parent / "." / path.name]) as call:
        assert await call.server.ledger_totals() == {"USD": Decimal("1.25")}


def test_exports_are_recognized_by_suffix() -> None:
    """CSV, compressed CSV and Parquet files are exports, in upper and lower case."""
    names = ["a.csv", "A.CSV.GZ", "a.parquet", "a.gz", "manifest.json", "csv"]
    assert [is_export(Path(name)) for name in names] == [True, True, True, False, False, False]
