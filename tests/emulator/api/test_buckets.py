"""Buckets: folders that a setup links and ingests, and a validation examines."""

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


def setup_body(bucket: str, payer: str = "payer") -> dict[str, Any]:
    return {
        "billingEngine": {
            "cloudProvider": "aws",
            "billingAccountId": payer,
            "bucketName": bucket,
        }
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create the buckets folder; `bill` writes into it with a name like root/one/bill.csv."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


async def total_usd(call: Any) -> Decimal | None:
    amount: Decimal | None = (await call.server.ledger_totals()).get("USD")
    return amount


async def test_setting_up_twice_counts_once(serve: Serve, bill: Bill, root: Path) -> None:
    """A setup ingests the exports in all subfolders; a second setup does not double them."""
    bill({}, name="root/one/2024/a.csv")
    bill({}, {}, name="root/one/b.csv")
    (root / "one" / "manifest.json").write_text("{}")
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        for _ in range(2):
            (item,) = (await call("POST", SETUP, json=setup_body("one"))).items
            assert item == setup_body("one")["billingEngine"] | {
                "status": "ACTIVE",
                "files": 2,
                "rows": 3,
            }
            assert await total_usd(call) == Decimal("103.75")
        assert [
            item["valid"] for item in (await call("POST", CHECK, json=setup_body("one"))).items
        ] == [
            True,
            True,
        ]


async def test_a_bucket_that_changed_is_replaced(serve: Serve, bill: Bill, root: Path) -> None:
    """A setup replaces the rows of changed files and removes those of deleted files."""
    changed, deleted = bill({}, name="root/one/a.csv"), bill({}, name="root/one/b.csv")
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        await call("POST", SETUP, json=setup_body("one"))
        assert await total_usd(call) == Decimal("102.50")
        bill({"BilledCost": "7"}, name=f"root/one/{changed.name}")
        deleted.unlink()
        await call("POST", SETUP, json=setup_body("one"))
        assert await total_usd(call) == Decimal(107)


async def test_linking_another_bucket_unlinks_the_first(
    serve: Serve, bill: Bill, root: Path
) -> None:
    """A billing account has one bucket; charges of unlinked buckets are removed."""
    bill({"BilledCost": "1"}, name="root/one/a.csv")
    bill({"BilledCost": "2"}, name="root/two/a.csv")
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        for bucket, payer, expected in (
            ("one", "payer", 101),
            ("one", "other", 101),
            ("two", "payer", 103),
            ("two", "other", 102),
        ):
            await call("POST", SETUP, json=setup_body(bucket, payer))
            assert await total_usd(call) == Decimal(expected)


async def test_a_bucket_with_an_invalid_file_is_not_ingested(
    serve: Serve, bill: Bill, root: Path
) -> None:
    """One invalid file fails the whole setup; validation reports the errors of each file."""
    bill({}, name="root/one/a.csv")
    bill({"BilledCost": "x", "BillingCurrency": ""}, name="root/one/b.csv")
    bill({}, name="root/one/c.csv", without="ServiceName")
    (root / "one" / "d.parquet").write_bytes(b"nothing")
    async with serve(focus=[bill({})], buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=setup_body("one"))).items
        assert item["status"] == "FAILED"
        assert await total_usd(call) == Decimal("1.25")
        results = (await call("POST", CHECK, json=setup_body("one"))).items
    assert [(item["file"], item["valid"], item.get("column")) for item in results] == [
        ("a.csv", True, None),
        ("b.csv", False, "BillingCurrency"),
        ("b.csv", False, "BilledCost"),
        ("c.csv", False, "ServiceName"),
        ("d.parquet", False, None),
    ]
    assert str(root) not in str(results)


async def test_setup_and_validation_agree_on_amounts_that_do_not_fit(
    serve: Serve, bill: Bill, root: Path
) -> None:
    """Setup fails if ledger and file together need too many digits; validation reports it."""
    bill({"BilledCost": "0." + "1" * 38}, name="root/one/a.csv")
    async with serve(focus=[bill({"BilledCost": "1.5"})], buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=setup_body("one"))).items
        assert item["status"] == "FAILED"
        (result,) = (await call("POST", CHECK, json=setup_body("one"))).items
        assert (result["valid"], result["file"]) == (False, "a.csv"), result
        assert "38" in result["message"]
        assert await total_usd(call) == Decimal("1.5")


@pytest.mark.parametrize("bucket", ["missing", "empty", "n" * 300])
async def test_a_bucket_without_exports(serve: Serve, root: Path, bucket: str) -> None:
    """A bucket without exports can be linked; setup and validation report that it is empty."""
    (root / "empty").mkdir()
    async with serve(buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=setup_body(bucket))).items
        assert item["status"] == "FAILED"
        (result,) = (await call("POST", CHECK, json=setup_body(bucket))).items
    assert result["valid"] is False


async def test_without_a_buckets_folder(serve: Serve) -> None:
    """Validation reports that the server has no buckets folder."""
    async with serve() as call:
        await call("POST", SETUP, json=setup_body("one"))
        (result,) = (await call("POST", CHECK, json=setup_body("one"))).items
    assert "without a buckets folder" in result["message"]


@pytest.mark.parametrize(
    "bucket", ["", ".", "..", "../out", "/etc", "one/../../out", "a\\b", "a\0b", "link", "loop"]
)
async def test_a_bucket_name_outside_of_the_root_is_refused(
    serve: Serve, bill: Bill, root: Path, bucket: str
) -> None:
    """A bucket is a folder directly under the root, not a path and not a link out of the root."""
    outside = bill({}, name="out/bill.csv")
    (root / "link").symlink_to(outside.parent)
    (root / "loop").symlink_to(root / "loop")
    async with serve(buckets=root) as call:
        answer = await call("POST", SETUP, json=setup_body(bucket))
    assert (answer.status, answer.fields) == (400, ["body.billingEngine.bucketName"])


async def test_a_link_out_of_the_bucket_is_not_read(serve: Serve, bill: Bill, root: Path) -> None:
    """A link in a bucket to a file outside of it is not followed."""
    outside = bill({}, name="out/bill.csv")
    bill({}, name="root/one/a.csv")
    (root / "one" / "b.csv").symlink_to(outside)
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=setup_body("one"))).items
    assert item["files"] == 1


async def test_validating_an_unknown_setup(serve: Serve, root: Path) -> None:
    """Validation of an unknown billing account is refused with a 404 that names the field."""
    async with serve(buckets=root) as call:
        answer = await call("POST", CHECK, json=setup_body("one"))
    assert (answer.status, answer.fields) == (404, ["body.billingEngine.billingAccountId"])
