"""Buckets: folders that setup links and ingests, and validation looks into."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

SETUP = "/billingEngine/setup"
CHECK = "/billingEngine/setup/validation"


def linking(bucket: str, payer: str = "payer") -> dict[str, Any]:
    return {
        "billingEngine": {
            "cloudProvider": "aws",
            "billingAccountId": payer,
            "bucketName": bucket,
        }
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of buckets, which `bill` writes into by a name like root/one/bill.csv."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


async def total(call: Any) -> Decimal | None:
    found: Decimal | None = (await call.server.ledger_totals()).get("USD")
    return found


async def test_setting_up_twice_counts_once(serve: Serve, bill: Bill, root: Path) -> None:
    """Setup ingests the bucket's exports in all folders; set up again, nothing is doubled."""
    bill({}, name="root/one/2024/a.csv")
    bill({}, {}, name="root/one/b.csv")
    (root / "one" / "manifest.json").write_text("{}")
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        for _ in range(2):
            (item,) = (await call("POST", SETUP, json=linking("one"))).items
            assert item == linking("one")["billingEngine"] | {
                "status": "ACTIVE",
                "files": 2,
                "rows": 3,
            }
            assert await total(call) == Decimal("103.75")
        assert [
            item["valid"] for item in (await call("POST", CHECK, json=linking("one"))).items
        ] == [
            True,
            True,
        ]


async def test_a_bucket_that_changed_is_replaced(serve: Serve, bill: Bill, root: Path) -> None:
    """Changed files replace what they brought, files that are gone leave the ledger."""
    changed, gone = bill({}, name="root/one/a.csv"), bill({}, name="root/one/b.csv")
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        await call("POST", SETUP, json=linking("one"))
        assert await total(call) == Decimal("102.50")
        bill({"BilledCost": "7"}, name=f"root/one/{changed.name}")
        gone.unlink()
        await call("POST", SETUP, json=linking("one"))
        assert await total(call) == Decimal(107)


async def test_linking_another_bucket_unlinks_the_first(
    serve: Serve, bill: Bill, root: Path
) -> None:
    """A billing account has one bucket; what no setup links any more leaves the ledger."""
    bill({"BilledCost": "1"}, name="root/one/a.csv")
    bill({"BilledCost": "2"}, name="root/two/a.csv")
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        for bucket, payer, expected in (
            ("one", "payer", 101),
            ("one", "other", 101),
            ("two", "payer", 103),
            ("two", "other", 102),
        ):
            await call("POST", SETUP, json=linking(bucket, payer))
            assert await total(call) == Decimal(expected)


async def test_a_faulty_bucket_is_ingested_not_at_all(serve: Serve, bill: Bill, root: Path) -> None:
    """One bad file fails the setup as a whole; validation says of each file what is wrong."""
    bill({}, name="root/one/a.csv")
    bill({"BilledCost": "x", "BillingCurrency": ""}, name="root/one/b.csv")
    bill({}, name="root/one/c.csv", without="ServiceName")
    (root / "one" / "d.parquet").write_bytes(b"nothing")
    async with serve(focus=[bill({})], buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=linking("one"))).items
        assert item["status"] == "FAILED"
        assert await total(call) == Decimal("1.25")
        found = (await call("POST", CHECK, json=linking("one"))).items
    assert [(item["file"], item["valid"], item.get("column")) for item in found] == [
        ("a.csv", True, None),
        ("b.csv", False, "BillingCurrency"),
        ("b.csv", False, "BilledCost"),
        ("c.csv", False, "ServiceName"),
        ("d.parquet", False, None),
    ]
    assert str(root) not in str(found)


async def test_setup_and_validation_agree_on_amounts_that_do_not_fit(
    serve: Serve, bill: Bill, root: Path
) -> None:
    """Too many digits beside what the ledger holds: setup fails, and validation says why."""
    bill({"BilledCost": "0." + "1" * 38}, name="root/one/a.csv")
    async with serve(focus=[bill({"BilledCost": "1.5"})], buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=linking("one"))).items
        assert item["status"] == "FAILED"
        (finding,) = (await call("POST", CHECK, json=linking("one"))).items
        assert (finding["valid"], finding["file"]) == (False, "a.csv"), finding
        assert "38" in finding["message"]
        assert await total(call) == Decimal("1.5")


@pytest.mark.parametrize("bucket", ["missing", "empty", "n" * 300])
async def test_a_bucket_without_exports(serve: Serve, root: Path, bucket: str) -> None:
    """It can be linked, and validation says that nothing is there."""
    (root / "empty").mkdir()
    async with serve(buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=linking(bucket))).items
        assert item["status"] == "FAILED"
        (found,) = (await call("POST", CHECK, json=linking(bucket))).items
    assert found["valid"] is False


async def test_without_a_folder_of_buckets(serve: Serve) -> None:
    """A server that was given no buckets says so."""
    async with serve() as call:
        await call("POST", SETUP, json=linking("one"))
        (found,) = (await call("POST", CHECK, json=linking("one"))).items
    assert "without a folder" in found["message"]


@pytest.mark.parametrize(
    "bucket", ["", ".", "..", "../out", "/etc", "one/../../out", "a\\b", "a\0b", "link", "loop"]
)
async def test_a_name_that_leads_out_is_refused(
    serve: Serve, bill: Bill, root: Path, bucket: str
) -> None:
    """A bucket is a folder right under the root, not a path, and no link to somewhere else."""
    outside = bill({}, name="out/bill.csv")
    (root / "link").symlink_to(outside.parent)
    (root / "loop").symlink_to(root / "loop")
    async with serve(buckets=root) as call:
        answer = await call("POST", SETUP, json=linking(bucket))
    assert (answer.status, answer.fields) == (400, ["body.billingEngine.bucketName"])


async def test_a_file_that_leads_out_is_not_read(serve: Serve, bill: Bill, root: Path) -> None:
    """A link within a bucket to a file outside of it is not followed."""
    outside = bill({}, name="out/bill.csv")
    bill({}, name="root/one/a.csv")
    (root / "one" / "b.csv").symlink_to(outside)
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=linking("one"))).items
    assert item["files"] == 1


async def test_validating_what_was_never_set_up(serve: Serve, root: Path) -> None:
    """404 with the billing account."""
    async with serve(buckets=root) as call:
        answer = await call("POST", CHECK, json=linking("one"))
    assert (answer.status, answer.fields) == (404, ["body.billingEngine.billingAccountId"])
