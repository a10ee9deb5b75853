"""Queries, rows and reports as plain records."""

from datetime import date
from decimal import Decimal

from spot_billing_async import CostItem, CostQuery, Fetched, PullReport
from spot_billing_async.bulk.records import (
    COLUMNS,
    json_lines,
    query_record,
    report_record,
    row_records,
)
from spot_billing_async.export.csv_text import csv_records, encode_csv

QUERY = CostQuery(
    account_id="a", from_date=date(2024, 1, 1), to_date=date(2024, 1, 31), group_by="service"
)
ITEM = CostItem(
    account_id="b",
    cloud_provider="aws",
    service='say "S3", ok',
    region="r",
    family_id="f1",
    family="f",
    date=date(2024, 1, 2),
    cost=Decimal("-1.50E-7"),
    currency="USD",
)
RECORD = {
    "query_account_id": "a",
    "query_from": date(2024, 1, 1),
    "query_to": date(2024, 1, 31),
    "group_by": "service",
    "account_id": "b",
    "cloud_provider": "aws",
    "service": 'say "S3", ok',
    "region": "r",
    "family_id": "f1",
    "family": "f",
    "date": date(2024, 1, 2),
    "cost": "-0.000000150",
    "currency": "USD",
    "request_id": "r1",
}
BATCH = [Fetched(QUERY, [ITEM, ITEM], "r1", 1, 0.5), Fetched(QUERY, [], None, 1, 0.5)]


def test_a_row_is_a_record_of_all_columns() -> None:
    """Each item is a record of query, item and request id; amounts are texts in full."""
    assert list(row_records(BATCH)) == [RECORD, RECORD]
    assert tuple(RECORD) == COLUMNS
    assert query_record(QUERY) == dict(list(RECORD.items())[:4])


def test_rows_are_written_as_lines() -> None:
    """JSON lines and CSV have one line per item; CSV has quotes and line ends of RFC 4180."""
    line = (
        '{"query_account_id":"a","query_from":"2024-01-01","query_to":"2024-01-31",'
        '"group_by":"service","account_id":"b","cloud_provider":"aws",'
        '"service":"say \\"S3\\", ok","region":"r","family_id":"f1","family":"f",'
        '"date":"2024-01-02","cost":"-0.000000150","currency":"USD","request_id":"r1"}\n'
    )
    assert json_lines(BATCH).decode() == line * 2
    record = (
        'a,2024-01-01,2024-01-31,service,b,aws,"say ""S3"", ok",r,f1,f,2024-01-02,-0.000000150,'
        "USD,r1\r\n"
    )
    assert csv_records(BATCH).decode() == record * 2
    assert encode_csv([COLUMNS]).decode() == ",".join(COLUMNS) + "\r\n"


def test_a_report_is_a_record() -> None:
    """A report's record has its counts, its totals as texts by currency, and milliseconds."""
    report = PullReport(
        planned=9,
        ok=1,
        empty=2,
        failed=3,
        cancelled=2,
        not_started=1,
        rows=7,
        totals={"USD": Decimal("1E+3"), "EUR": Decimal("0.10")},
        requests=11,
        retries=4,
        refusals=5,
        mismatches=6,
        elapsed_s=1.23456,
    )
    record = report_record(report)
    assert record == {
        "planned": 9,
        "ok": 1,
        "empty": 2,
        "failed": 3,
        "cancelled": 2,
        "not_started": 1,
        "rows": 7,
        "totals": {"EUR": "0.1", "USD": "1000"},
        "requests": 11,
        "retries": 4,
        "refusals": 5,
        "mismatches": 6,
        "elapsed_s": 1.235,
    }
