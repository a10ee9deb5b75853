"""Where a table may be, and what is told of a place where it may not."""

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
async def test_one_table_of_the_two_is_none(
    api: Api, run: Sync, table: str, tmp_path: Path, gone: str, left: str
) -> None:
    """Where costs or ledger are gone the other one is no proof: both are named, nothing is sent."""
    await run()
    shutil.rmtree(tmp_path / gone)
    api.asked.clear()
    for use in (run, lambda: plan(table, accounts=api.accounts, **SCOPE), lambda: day_sums(table)):
        with pytest.raises(TableError, match=f"/{left} is there, and .*/{gone} is gone.*delete"):
            await use()
    assert (api.asked, [path.name for path in tmp_path.iterdir()]) == ([], [left])
    shutil.rmtree(tmp_path / left)
    report = await run()
    assert (report.new_days, report.totals) == (2 * DAYS, {"USD": api.total})


async def test_a_making_that_was_interrupted_goes_on(api: Api, run: Sync, table: str) -> None:
    """Killed between the two, one is there and empty: then both are made, whichever it was."""
    DeltaTable.open_or_create(table, COSTS, ["group_by"])
    assert (await plan(table, accounts=api.accounts, **SCOPE)).due_days == 2 * DAYS
    await run()
    assert sum_of(table) == api.total
    TableStore.open_or_create(f"{table}2")
    shutil.rmtree(f"{table}2")
    assert (await plan(f"{table}2", accounts=api.accounts, **SCOPE)).due_days == 2 * DAYS


async def test_a_table_that_is_made_meanwhile_is_there(
    run: Sync, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two syncs that begin at once, one may see the costs only after the other has both."""
    await run()
    open_table, looks = DeltaTable.open, iter([None])
    monkeypatch.setattr(DeltaTable, "open", lambda *place: next(looks, open_table(*place)))
    assert TableStore.open(table).exists


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("br[1]", r"'\[' '\]'"),
        ("per%20cent", "'%20'"),
        ("back\\slash", r"'\\\\'"),
        ("pi|pe", r"'\|'"),
        ("hat^", r"'\^'"),
        ("ta\tb", r"'\\t'"),
    ],
)
async def test_what_could_not_be_read_again_is_not_made(
    api: Api, client: SpotBillingClient, tmp_path: Path, name: str, told: str
) -> None:
    """Characters that deltalake takes for others, or that make it panic, are named."""
    place = tmp_path / name / "costs"
    for use in (
        lambda: sync(client, place, accounts=api.accounts, **SCOPE),
        lambda: plan(str(place), accounts=api.accounts, **SCOPE),
        lambda: day_sums(place),
    ):
        with pytest.raises(ConfigError, match=f"table: .* has {told} in its path; allowed"):
            await use()
    assert (api.asked, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("name", [*" !\"#$%&'()*+,-:;<=>?@_`{}~üß€", "50%"])
async def test_other_characters_are_names(
    api: Api, client: SpotBillingClient, tmp_path: Path, name: str
) -> None:
    """A table is made, read, and found again there."""
    place = tmp_path / f"x{name}y"
    scope = SCOPE | {"accounts": api.accounts, "to_date": FIRST}
    assert (await sync(client, place, **scope)).new_days == 2
    assert (await sync(client, str(place), **scope)).skipped_days == 2
    assert len(await day_sums(place)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [place.name, f"{place.name}_ledger"]


def test_a_panic_is_an_error_of_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no `except Exception` catches is translated all the same; an interruption is not."""
    made = DeltaTable.open_or_create(f"{tmp_path}/br[1]", COSTS, [])
    with pytest.raises(TableError, match="cannot cope with it: Invalid object store url"):
        made.replace(COSTS.empty_table(), "account_id = 'a'")

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deltalake.DeltaTable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        DeltaTable.open("t", COSTS)


async def test_a_folder_of_other_things_is_no_table(
    api: Api, run: Sync, table: str, tmp_path: Path
) -> None:
    """A checkout, or the parent of a table: it is named, nothing is put there, nothing is sent."""
    project = Path(table)
    (project / "src").mkdir(parents=True)
    match = f"table: '{project}' holds something else than a table; allowed: a new or empty folder"
    for use in (run, lambda: plan(table, accounts=api.accounts, **SCOPE), lambda: day_sums(table)):
        with pytest.raises(ConfigError, match=match):
            await use()
    assert api.asked == []
    assert sorted(tmp_path.rglob("*")) == [project, project / "src"]
    (project / "src").rmdir()
    assert (await run()).complete


async def test_the_folder_of_the_ledger_is_looked_at_too(run: Sync, table: str) -> None:
    """It is another folder, which may hold other things as well."""
    Path(f"{table}_ledger", "x").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"costs_ledger' holds something else"):
        await run()
    assert not Path(table).exists()


async def test_a_file_is_no_folder(api: Api, run: Sync, table: str, tmp_path: Path) -> None:
    """Neither in the table's place nor above it; which one it is, is told."""
    Path(table).write_text("x")
    for place in (table, f"{table}/deeper/still"):
        with pytest.raises(TableError, match=f"'{tmp_path}/costs' is not a folder"):
            await plan(place, accounts=api.accounts, **SCOPE)
    with pytest.raises(TableError, match="is not a folder"):
        await run()
    assert api.asked == []


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Takes permissions away from a path; the mode of a file does not, where root runs tests."""

    def forbid(place: str, mode: int) -> None:
        allowed = os.access
        monkeypatch.setattr(
            os,
            "access",
            lambda path, asked: allowed(path, asked) and not (str(path) == place and asked & mode),
        )

    return forbid


async def test_a_folder_that_may_not_be_written(
    api: Api, run: Sync, table: str, tmp_path: Path, forbid: Callable[[str, int], None]
) -> None:
    """The reason is told before anything is sent; what only reads goes on."""
    forbid(str(tmp_path), os.W_OK)
    with pytest.raises(TableError, match=f"permission denied: '{tmp_path}' may not be written"):
        await run()
    assert api.asked == []
    assert (await plan(table, accounts=api.accounts, **SCOPE)).due_days == 2 * DAYS


async def test_a_log_that_may_not_be_read(
    run: Sync, table: str, forbid: Callable[[str, int], None]
) -> None:
    """It is not taken for a table that is not there."""
    await run()
    forbid(f"{table}/_delta_log", os.R_OK)
    with pytest.raises(TableError, match=r"permission denied: .*_delta_log' may not be read"):
        await day_sums(table)


async def test_the_reason_of_an_error_is_in_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What deltalake draws as a chain of causes is one line, with the last cause in it."""

    def failed(_: str) -> None:
        raise OSError("Generic error\n   \x1b[31m↳\x1b[0m cannot open\n \x1b[31m↳\x1b[0m denied\n")

    monkeypatch.setattr("deltalake.DeltaTable", failed)
    with pytest.raises(TableError, match=r"^t: Generic error: cannot open: denied$"):
        DeltaTable.open("t", COSTS)


@pytest.mark.parametrize("table", [None, 7, b"t", "", " "])
async def test_a_place_is_text_or_a_path(client: SpotBillingClient, table: Any) -> None:
    """Everything else is refused, with what is allowed."""
    for use in (
        lambda: sync(client, table, accounts=["a"], **SCOPE),
        lambda: plan(table, accounts=["a"], **SCOPE),
        lambda: day_sums(table),
    ):
        with pytest.raises(ConfigError, match="allowed: text or a path that is not empty"):
            await use()


def test_the_folder_that_one_is_in_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else the ledger would be made within the costs; slashes at the end are nothing."""
    monkeypatch.chdir(tmp_path)
    assert checked_location(".") == str(tmp_path)
    assert checked_location("..") == str(tmp_path.parent)
    assert [checked_location(text) for text in ("t", "t/", "t/.", "./t")] == ["t"] * 4
    assert checked_location("s3://bucket/t[1]/") == "s3://bucket/t[1]/"


def test_only_folders_are_looked_at(tmp_path: Path) -> None:
    """Of an object store nothing is known before; a URI of a file names a folder."""
    check_location("s3://bucket/costs", to_write=True)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        check_location(f"{tmp_path.as_uri()}/a%20b", to_write=True)
    Delta.create(f"{tmp_path.as_uri()}/c%20d", pa.schema({"x": pa.int64()}))
    check_location(f"{tmp_path.as_uri()}/c%20d", to_write=True)
