"""Sample data for a server without FOCUS exports, derived from MD5 and always the same.

Three clouds, 24 accounts, two years of days, two currencies, credits; ids with leading zeros and
ids with slashes, as in real bills.
"""

from datetime import date

from spot_billing_async.emulator.data import ledger
from spot_billing_async.emulator.data.database import Cursor, one_row

FROM_DATE = date(2024, 1, 1)
TO_DATE = date(2025, 12, 31)
PATH = "sample"
"""Path of the sample in the table of sources; the paths of files are absolute."""

_SEED = "2"

# cloud: accounts, billing account, currency, services, regions
_CLOUDS = (
    (
        "aws",
        10,
        "004215550001",
        "USD",
        ("Amazon EC2", "Amazon S3", "Amazon RDS", "AWS Lambda", "Amazon CloudFront"),
        ("us-east-1", "us-west-2", "eu-central-1"),
    ),
    (
        "azure",
        8,
        "/providers/Microsoft.Billing/billingAccounts/7551001",
        "EUR",
        ("Virtual Machines", "Storage Accounts", "Azure SQL Database", "Azure Functions"),
        ("westeurope", "northeurope", "eastus"),
    ),
    (
        "gcp",
        6,
        "01A2B3-C4D5E6-F70819",
        "USD",
        ("Compute Engine", "Cloud Storage", "BigQuery", "Cloud Run"),
        ("us-central1", "europe-west1"),
    ),
)

_FAMILIES = (
    ("fam-5a3e0001", "Platform", "Shared infrastructure", "aws", (1, 2, 3)),
    ("fam-5a3e0002", "Data", "Analytics and warehousing", "gcp", (1, 2)),
    ("fam-5a3e0003", "Retail", None, "azure", (1, 2, 3, 4)),
)

# Amounts are below 1, 10, 100 or 1,000, depending on account and service.
_MODULI = [10**10, 10**11, 10**12, 10**13]

# Up to 13 digits of a row's MD5 are its amount; DECIMAL(18, 0) times 1e-10 is exact. A service of
# an account is in one region, and about one row in 41 is a credit.
_CHARGES = """
INSERT INTO charge
WITH cell AS (
    SELECT account_id, service, day,
        md5_number_lower(concat_ws('|', $seed, account_id, service, day)) AS noise,
        md5_number_lower(concat_ws('|', $seed, account_id, service)) AS trait
    FROM (SELECT unnest($accounts) AS account_id), (SELECT unnest($services) AS service),
        (SELECT CAST(unnest(generate_series($from_date, $to_date, INTERVAL 1 DAY)) AS DATE) AS day)
)
SELECT $source, account_id, $cloud, service,
    $regions[CAST(trait % len($regions) AS INTEGER) + 1], day, $currency,
    CAST(noise % $moduli[CAST(trait % len($moduli) AS INTEGER) + 1] AS DECIMAL(18, 0))
        * CAST('0.0000000001' AS DECIMAL(11, 10))
        * CASE WHEN noise % 41 = 0 THEN -1 ELSE 1 END
FROM cell WHERE trait % 3 <> 0
ORDER BY account_id, day
"""


def load(cursor: Cursor) -> None:
    """Insert the sample and its families into an empty ledger."""
    source = ledger.add_source(cursor, PATH, _SEED, None, 0)
    for cloud, count, billing_account, currency, services, regions in _CLOUDS:
        accounts = [_account_id(cloud, number) for number in range(1, count + 1)]
        cursor.execute(
            _CHARGES,
            {
                "seed": _SEED,
                "source": source.source_id,
                "accounts": accounts,
                "services": list(services),
                "regions": list(regions),
                "from_date": FROM_DATE,
                "to_date": TO_DATE,
                "cloud": cloud,
                "currency": currency,
                "moduli": _MODULI,
            },
        )
        cursor.execute(
            "INSERT INTO account SELECT ?, unnest(?), ?, ?",
            [source.source_id, accounts, billing_account, cloud],
        )
    for family_id, name, description, cloud, numbers in _FAMILIES:
        cursor.execute(
            "INSERT INTO family VALUES (nextval('family_number'), ?, ?, ?, ?)",
            [family_id, name, description, [_account_id(cloud, number) for number in numbers]],
        )


def is_loaded(cursor: Cursor) -> bool:
    """Return True if the database contains the sample."""
    return bool(one_row(cursor.execute("SELECT count(*) FROM source WHERE path = ?", [PATH]))[0])


def _account_id(cloud: str, number: int) -> str:
    match cloud:
        case "aws":
            return f"{number * 11254002932 % 10**12:012d}"
        case "azure":
            return f"/subscriptions/5b1c7c0e-0000-4000-8000-{number:012d}"
        case _:
            return f"spot-sample-{number:02d}"
