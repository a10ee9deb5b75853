"""Buckets: folders that a setup links and ingests, and a validation examines."""

import errno
import os
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spot_billing_async.emulator import FocusError
from spot_billing_async.emulator.api.buckets import exports

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
    """A bucket is a folder directly under the root, not a path and not a link."""
    outside = bill({}, name="out/bill.csv")
    (root / "link").symlink_to(outside.parent)
    (root / "loop").symlink_to(root / "loop")
    async with serve(buckets=root) as call:
        answer = await call("POST", SETUP, json=setup_body(bucket))
    assert (answer.status, answer.fields) == (400, ["body.billingEngine.bucketName"])


async def test_links_and_pipes_are_not_read(serve: Serve, bill: Bill, root: Path) -> None:
    """Links in a bucket, to files or folders of any place, and pipes are left out."""
    outside = bill({"BilledCost": "666"}, name="out/bill.csv")
    inside = bill({}, name="root/one/a.csv")
    (root / "one" / "b.csv").symlink_to(outside)
    (root / "one" / "c.csv").symlink_to(inside)
    (root / "one" / "folder").symlink_to(outside.parent)
    os.mkfifo(root / "one" / "d.csv")
    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        (item,) = (await call("POST", SETUP, json=setup_body("one"))).items
        assert item["files"] == 1
        (result,) = (await call("POST", CHECK, json=setup_body("one"))).items
        assert result["file"] == "a.csv"
        assert await total_usd(call) == Decimal("101.25")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_file_that_is_replaced_is_not_read(bill: Bill, root: Path, kind: str) -> None:
    """A file that something else replaces between listing and reading is refused."""
    outside = bill({"BilledCost": "666"}, name="out/bill.csv")
    path = bill({}, name="root/one/a.csv")
    for export in exports(root, "one"):
        before = len(list(Path("/proc/self/fd").iterdir()))
        path.unlink()
        if kind == "link":
            path.symlink_to(outside)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
        with pytest.raises(FocusError, match=r"a\.csv"), export.copied():
            pass
        assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_folder_that_is_replaced_is_still_the_same(bill: Bill, root: Path) -> None:
    """A link that replaces a folder while it is read does not lead to the files of another one."""
    outside = bill({"BilledCost": "666"}, name="out/a.csv")
    path = bill({}, name="root/one/sub/a.csv")
    for export in exports(root, "one"):
        path.parent.rename(root / "moved")
        path.parent.symlink_to(outside.parent)
        with export.copied() as copy:
            assert "666" not in copy.read_text()
            assert copy.name == "a.csv"
        assert not copy.exists()


async def test_a_bucket_that_is_replaced_all_the_time(serve: Serve, bill: Bill, root: Path) -> None:
    """No setup reads what a link leads to, at whatever moment the link replaces file or folder."""
    outside = bill({"BilledCost": "666"}, name="out/sub/a.csv")
    path = bill({"BilledCost": "1"}, name="root/one/sub/a.csv")
    spare = bill({"BilledCost": "1"}, name="spare.csv")
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for target, leads_to in ((path, outside), (path.parent, outside.parent)):
                kept = root.parent / "kept"
                target.rename(kept)
                target.symlink_to(leads_to)
                stop.wait(0.001)
                target.unlink()
                kept.rename(target)
                stop.wait(0.001)

    async with serve(focus=[spare], buckets=root) as call:
        thread = threading.Thread(target=replace)
        thread.start()
        try:
            for _ in range(30):
                assert (await call("POST", SETUP, json=setup_body("one"))).status == 200
                assert await total_usd(call) in {Decimal(1), Decimal(2)}
        finally:
            stop.set()
            thread.join()
        await call("POST", SETUP, json=setup_body("one"))
        assert await total_usd(call) == Decimal(2)


async def test_a_folder_that_cannot_be_read_is_an_error(
    serve: Serve, bill: Bill, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket with an unreadable folder is refused, instead of being read without it."""
    bill({}, name="root/one/a.csv")
    bill({}, name="root/one/sub/b.csv")
    real_open = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        # Permissions do not stop root, who may run the tests.
        if path == "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_open(path, *arguments, **options)

    async with serve(focus=[bill({"BilledCost": "100"})], buckets=root) as call:
        monkeypatch.setattr(os, "open", refuse)
        (item,) = (await call("POST", SETUP, json=setup_body("one"))).items
        assert item["status"] == "FAILED"
        (result,) = (await call("POST", CHECK, json=setup_body("one"))).items
        assert result["message"] == "the bucket cannot be read: Permission denied"
        assert await total_usd(call) == 100


async def test_validating_an_unknown_setup(serve: Serve, root: Path) -> None:
    """Validation of an unknown billing account is refused with a 404 that names the field."""
    async with serve(buckets=root) as call:
        answer = await call("POST", CHECK, json=setup_body("one"))
    assert (answer.status, answer.fields) == (404, ["body.billingEngine.billingAccountId"])
