"""Locations of a table, and the errors for those that cannot be used."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable as Delta

from spot_billing_async import ConfigError, SpotBillingClient
from spot_billing_async.table import TableError, day_sums, plan, sync
from spot_billing_async.table.storage.delta import DeltaTable, check_location
from spot_billing_async.table.storage.location import checked_location
from spot_billing_async.table.storage.schemas import COSTS
from spot_billing_async.table.storage.store import TableStore
from tests.table.api import DAYS, FIRST, LAST, Api
from tests.table.conftest import Sync, sum_of

SCOPE: dict[str, Any] = {"from_date": FIRST, "to_date": LAST, "group_by": "service"}


@pytest.mark.parametrize(("gone", "left"), [("costs", "costs_ledger"), ("costs_ledger", "costs")])
async def test_one_table_without_the_other_is_an_error(
    api: Api, run: Sync, table: str, tmp_path: Path, gone: str, left: str
) -> None:
    """If the costs or the ledger are missing, the error names both, and nothing is sent."""
    await run()
    shutil.rmtree(tmp_path / gone)
    api.requested.clear()
    for use in (run, lambda: plan(table, accounts=api.accounts, **SCOPE), lambda: day_sums(table)):
        with pytest.raises(TableError, match=f"/{left} exists but .*/{gone} is missing.*delete"):
            await use()
    assert (api.requested, [path.name for path in tmp_path.iterdir()]) == ([], [left])
    shutil.rmtree(tmp_path / left)
    report = await run()
    assert (report.new_days, report.totals) == (2 * DAYS, {"USD": api.total})


async def test_an_interrupted_creation_continues(api: Api, run: Sync, table: str) -> None:
    """If only one of the two was created before a kill, the next sync creates the other."""
    DeltaTable.open_or_create(table, COSTS, ["group_by"])
    assert (await plan(table, accounts=api.accounts, **SCOPE)).due_days == 2 * DAYS
    await run()
    assert sum_of(table) == api.total
    TableStore.open_or_create(f"{table}2")
    shutil.rmtree(f"{table}2")
    assert (await plan(f"{table}2", accounts=api.accounts, **SCOPE)).due_days == 2 * DAYS


async def test_a_table_created_between_two_lookups_is_found(
    run: Sync, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that sees only one of the two tables looks again: another may be creating them."""
    await run()
    open_table, looks = DeltaTable.open, iter([None])
    monkeypatch.setattr(DeltaTable, "open", lambda *arguments: next(looks, open_table(*arguments)))
    assert TableStore.open(table).exists


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("br[1]", r"'\[' '\]'"),
        ("per%20cent", "'%20'"),
        ("back\\slash", r"'\\\\'"),
        ("pi|pe", r"'\|'"),
        ("hat^", r"'\^'"),
        ("ta\tb", r"'\\t'"),
    ],
)
async def test_characters_that_deltalake_misreads_are_refused(
    api: Api, client: SpotBillingClient, tmp_path: Path, name: str, shown: str
) -> None:
    """The error for characters that deltalake misreads names them; nothing is created or sent."""
    location = tmp_path / name / "costs"
    for use in (
        lambda: sync(client, location, accounts=api.accounts, **SCOPE),
        lambda: plan(str(location), accounts=api.accounts, **SCOPE),
        lambda: day_sums(location),
    ):
        with pytest.raises(
            ConfigError, match=f"table must be a folder without .* in its path, got .* with {shown}"
        ):
            await use()
    assert (api.requested, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("name", [*" !\"#$%&'()*+,-:;<=>?@_`{}~üß€", "50%"])
async def test_other_characters_are_allowed(
    api: Api, client: SpotBillingClient, tmp_path: Path, name: str
) -> None:
    """A table with these characters in its name is created, found again and read."""
    location = tmp_path / f"x{name}y"
    scope = SCOPE | {"accounts": api.accounts, "to_date": FIRST}
    assert (await sync(client, location, **scope)).new_days == 2
    assert (await sync(client, str(location), **scope)).skipped_days == 2
    assert len(await day_sums(location)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        location.name,
        f"{location.name}_ledger",
    ]


def test_a_panic_is_a_table_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panic of the Rust side is no `Exception`, but translated; KeyboardInterrupt is not."""
    made = DeltaTable.open_or_create(f"{tmp_path}/br[1]", COSTS, [])
    with pytest.raises(TableError, match="deltalake panicked: Invalid object store url"):
        made.replace(COSTS.empty_table(), "account_id = 'a'")

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deltalake.DeltaTable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        DeltaTable.open("t", COSTS)


async def test_a_folder_with_other_content_is_refused(
    api: Api, run: Sync, table: str, tmp_path: Path
) -> None:
    """A folder with other content is refused by name; nothing is written there or sent."""
    project = Path(table)
    (project / "src").mkdir(parents=True)
    match = f"table must be a new or empty folder, .* got '{project}' with other content"
    for use in (run, lambda: plan(table, accounts=api.accounts, **SCOPE), lambda: day_sums(table)):
        with pytest.raises(ConfigError, match=match):
            await use()
    assert api.requested == []
    assert sorted(tmp_path.rglob("*")) == [project, project / "src"]
    (project / "src").rmdir()
    assert (await run()).complete


async def test_the_folder_of_the_ledger_is_checked_too(run: Sync, table: str) -> None:
    """A folder at `<table>_ledger` with other content is refused, and no table is created."""
    Path(f"{table}_ledger", "x").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"got '.*costs_ledger' with other content"):
        await run()
    assert not Path(table).exists()


async def test_a_file_is_not_a_folder(api: Api, run: Sync, table: str, tmp_path: Path) -> None:
    """A file at the location or above it is refused by name."""
    Path(table).write_text("x")
    for location in (table, f"{table}/deeper/still"):
        with pytest.raises(TableError, match=f"'{tmp_path}/costs' is not a folder"):
            await plan(location, accounts=api.accounts, **SCOPE)
    with pytest.raises(TableError, match="is not a folder"):
        await run()
    assert api.requested == []


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Return a function that removes a permission of a path; root is not bound by file modes."""

    def forbid(location: str, mode: int) -> None:
        allowed = os.access
        monkeypatch.setattr(
            os,
            "access",
            lambda path, wanted: (
                allowed(path, wanted) and not (str(path) == location and wanted & mode)
            ),
        )

    return forbid


async def test_a_folder_that_may_not_be_written(
    api: Api, run: Sync, table: str, tmp_path: Path, forbid: Callable[[str, int], None]
) -> None:
    """A sync raises before anything is sent; a plan, which only reads, works."""
    forbid(str(tmp_path), os.W_OK)
    with pytest.raises(TableError, match=f"permission denied: '{tmp_path}' may not be written"):
        await run()
    assert api.requested == []
    assert (await plan(table, accounts=api.accounts, **SCOPE)).due_days == 2 * DAYS


async def test_a_log_that_may_not_be_read(
    run: Sync, table: str, forbid: Callable[[str, int], None]
) -> None:
    """A log without read permission is an error, not a missing table."""
    await run()
    forbid(f"{table}/_delta_log", os.R_OK)
    with pytest.raises(TableError, match=r"permission denied: .*_delta_log' may not be read"):
        await day_sums(table)


async def test_an_error_message_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of causes that deltalake prints over several lines becomes one line."""

    def failed(_: str) -> None:
        raise OSError("Generic error\n   \x1b[31m↳\x1b[0m cannot open\n \x1b[31m↳\x1b[0m denied\n")

    monkeypatch.setattr("deltalake.DeltaTable", failed)
    with pytest.raises(TableError, match=r"^t: Generic error: cannot open: denied$"):
        DeltaTable.open("t", COSTS)


@pytest.mark.parametrize("table", [None, 7, b"t", "", " "])
async def test_a_location_is_text_or_a_path(client: SpotBillingClient, table: Any) -> None:
    """A location that is neither text nor a path, or blank, is refused."""
    for use in (
        lambda: sync(client, table, accounts=["a"], **SCOPE),
        lambda: plan(table, accounts=["a"], **SCOPE),
        lambda: day_sums(table),
    ):
        with pytest.raises(ConfigError, match="table must be non-empty text or a path, got "):
            await use()


def test_the_current_folder_is_resolved_to_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger's location needs a name: `.` and `..` are resolved, trailing slashes removed."""
    monkeypatch.chdir(tmp_path)
    assert checked_location(".") == str(tmp_path)
    assert checked_location("..") == str(tmp_path.parent)
    assert [checked_location(text) for text in ("t", "t/", "t/.", "./t")] == ["t"] * 4
    assert checked_location("s3://bucket/t[1]/") == "s3://bucket/t[1]/"


def test_only_local_folders_are_checked(tmp_path: Path) -> None:
    """An object store is not checked; a file URI is checked as a folder."""
    check_location("s3://bucket/costs", to_write=True)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x").touch()
    with pytest.raises(ConfigError, match="with other content"):
        check_location(f"{tmp_path.as_uri()}/a%20b", to_write=True)
    Delta.create(f"{tmp_path.as_uri()}/c%20d", pa.schema({"x": pa.int64()}))
    check_location(f"{tmp_path.as_uri()}/c%20d", to_write=True)
