"""Atomic files of exports, through failures and cancellations."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from spot_billing_async import ConfigError, CostItem, CostPlan, CostQuery, Fetched
from spot_billing_async.bulk.run import PullRun
from spot_billing_async.errors import TransportError
from spot_billing_async.export import ExportError, open_writer, write_costs
from spot_billing_async.export.atomic_file import PendingFile
from spot_billing_async.export.sinks import TextFileSink
from spot_billing_async.models.results import Answer

MakeFetched = Callable[..., Fetched[CostItem]]

ENDINGS = pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])


@ENDINGS
async def test_an_exception_leaves_the_earlier_file_untouched(
    tmp_path: Path, fetched: MakeFetched, ending: str
) -> None:
    """A block that fails keeps the earlier file and leaves no other file."""
    path = tmp_path / f"x{ending}"
    path.write_text("earlier")

    async def fail_inside() -> None:
        async with open_writer(path) as writer:
            await writer.write(fetched("1"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail_inside()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


@ENDINGS
async def test_the_target_name_appears_at_the_end(
    tmp_path: Path, fetched: MakeFetched, ending: str
) -> None:
    """While rows are written, the folder holds only a hidden file."""
    path = tmp_path / f"x{ending}"
    async with open_writer(path) as writer:
        await writer.write(fetched(*["1"] * 40_000))
        assert [entry.name.startswith(".") for entry in tmp_path.iterdir()] == [True]
    assert list(tmp_path.iterdir()) == [path]


async def test_permissions_and_links_are_kept(tmp_path: Path, fetched: MakeFetched) -> None:
    """A replaced file keeps its permissions, and a symbolic link points to the new content."""
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.touch(0o600)
    link.symlink_to(real)
    async with open_writer(link) as writer:
        await writer.write(fetched("1"))
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert real.stat().st_size > 0


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("place", ["file", "folder", "chain", "loop"])
async def test_a_link_of_another_user_is_refused(
    tmp_path: Path, give_away: Callable[[Path], None], place: str
) -> None:
    """A link of another user, at the end of a path, on it, or behind an own link, is refused."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "x.csv").write_text("mine")
    link = tmp_path / ("folder" if place == "folder" else "link.csv")
    link.symlink_to({"folder": own, "loop": link}.get(place, own / "x.csv"))
    path = {"folder": link / "x.csv", "chain": tmp_path / "chain.csv"}.get(place, link)
    if place == "chain":
        path.symlink_to("own/../link.csv")
    give_away(link)
    with pytest.raises(ConfigError, match=rf"{link.name} is a link of another user"):
        async with open_writer(path):
            pass
    assert [(entry.name, entry.read_text()) for entry in own.iterdir()] == [("x.csv", "mine")]


@pytest.mark.parametrize("place", ["before", "while writing"])
async def test_a_link_that_appears_later_is_not_followed(
    tmp_path: Path, fetched: MakeFetched, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that replaces the folder or the target after the check leads to no other file."""
    own, folder = tmp_path / "own", tmp_path / "folder"
    own.mkdir()
    folder.mkdir()
    (own / "x.csv").write_text("mine")
    if place == "before":
        real = os.path.realpath

        def replace_folder(path: Path) -> str:
            resolved = real(path)
            folder.rename(tmp_path / "moved")
            folder.symlink_to(own)
            return resolved

        monkeypatch.setattr(os.path, "realpath", replace_folder)
        with pytest.raises(ConfigError, match="cannot write the file"):
            async with open_writer(folder / "x.csv"):
                pass
    else:
        async with open_writer(folder / "x.csv") as writer:
            await writer.write(fetched("1"))
            (folder / "x.csv").symlink_to(own / "x.csv")
        assert not (folder / "x.csv").is_symlink()
    assert [(entry.name, entry.read_text()) for entry in own.iterdir()] == [("x.csv", "mine")]


@pytest.mark.parametrize(("umask", "permissions"), [(0o022, 0o644), (0o077, 0o600)])
async def test_the_umask_decides_who_can_read(
    tmp_path: Path, fetched: MakeFetched, umask: int, permissions: int
) -> None:
    """A new file can be read by all under the usual umask; the hidden one is no more open."""
    previous = os.umask(umask)
    try:
        async with open_writer(tmp_path / "x.csv") as writer:
            await writer.write(fetched("1"))
            (hidden,) = tmp_path.iterdir()
            assert hidden.stat().st_mode & 0o777 == permissions
    finally:
        os.umask(previous)
    assert (tmp_path / "x.csv").stat().st_mode & 0o777 == permissions


@pytest.mark.parametrize("name", ["/", "..", "a\0b", "x/y", "n" * 300])
def test_a_file_that_cannot_be_created(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that cannot be a file is a configuration error, and no descriptor stays open."""
    monkeypatch.chdir(tmp_path)
    before = count_descriptors()
    with pytest.raises(ConfigError, match="cannot write the file"):
        PendingFile(Path(name))
    assert count_descriptors() <= before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ends", [[], ["commit"], ["discard"], ["commit", "discard"]])
def test_a_pending_file_closes_its_folder(tmp_path: Path, ends: list[str]) -> None:
    """`commit` and `discard` close the folder, and `discard` after either does nothing."""
    before = count_descriptors()
    file = PendingFile(tmp_path / "report.json")
    for end in ends:
        getattr(file, end)()
    file.discard()
    assert count_descriptors() <= before
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"] * ("commit" in ends)


@pytest.mark.parametrize("name", ["x", "x.xlsx", "x.csv.gz", ".csv"])
def test_an_unknown_ending_is_refused(name: str) -> None:
    """The ending selects the format, and the error for another one names those allowed."""
    with pytest.raises(ConfigError, match=r"\.jsonl, \.csv, \.parquet"):
        open_writer(name)


@ENDINGS
async def test_a_path_that_cannot_be_written_is_an_error_on_entering(
    tmp_path: Path, ending: str
) -> None:
    """A missing folder, or a folder of that name, is an error on entering the block."""
    folder = tmp_path / f"folder{ending}"
    folder.mkdir()
    for path in (tmp_path / "missing" / f"x{ending}", folder):
        with pytest.raises(ConfigError, match="cannot write the file"):
            await open_writer(path).__aenter__()
    assert list(tmp_path.iterdir()) == [folder]


async def test_a_writer_is_open_within_its_block_only(fetched: MakeFetched) -> None:
    """Writing to a writer that is not entered is an error."""
    with pytest.raises(ConfigError, match="not open"):
        await open_writer("x.csv").write(fetched(*["1"] * 40_000))


async def test_a_cancelled_write_still_reaches_the_file(
    tmp_path: Path, fetched: MakeFetched
) -> None:
    """An outcome of a cancelled `write` is in the file."""
    path = tmp_path / "x.jsonl"
    async with open_writer(path) as writer:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await writer.write(fetched(*["1"] * 40_000))
    assert path.read_bytes().count(b"\n") == 40_000


async def test_a_cancelled_task_leaves_no_file(tmp_path: Path, fetched: MakeFetched) -> None:
    """A task that is cancelled by `task.cancel()` removes the hidden file too."""
    open_now = asyncio.Event()

    async def work() -> None:
        async with open_writer(tmp_path / "x.parquet") as writer:
            await writer.write(fetched("1"))
            open_now.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await open_now.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []


async def test_a_lost_batch_is_never_committed(
    tmp_path: Path, fetched: MakeFetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that continues after a failed write gets an error, and no incomplete file."""

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    async def continue_after_failure() -> None:
        async with open_writer(tmp_path / "x.jsonl") as writer:
            with monkeypatch.context() as patched:
                patched.setattr(TextFileSink, "write", fail)
                with pytest.raises(ExportError, match="No space left"):
                    await writer.write(fetched(*["1"] * 40_000))

    with pytest.raises(ExportError, match="only 0 of 40000 rows"):
        await continue_after_failure()
    assert list(tmp_path.iterdir()) == []


async def test_the_event_loop_runs_while_a_batch_is_written(
    tmp_path: Path, fetched: MakeFetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are written in a thread, so other tasks run while the disk is slow."""
    beats = 0
    seen: list[int] = []

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await anyio.lowlevel.checkpoint()

    def slow(*_: Any) -> None:
        before = beats
        while beats < before + 100:
            os.sched_yield()
        seen.append(beats - before)

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        async with open_writer(tmp_path / "x.jsonl") as writer:
            monkeypatch.setattr(TextFileSink, "write", slow)
            await writer.write(fetched(*["1"] * 40_000))
        group.cancel_scope.cancel()
    assert min(seen) >= 100


async def test_write_costs_writes_a_whole_run(tmp_path: Path, fetched: MakeFetched) -> None:
    """The file holds the fetched slices, and the returned report counts the failed ones."""
    fetched_count = 0

    async def fetch(*_: Any) -> Answer[CostItem]:
        nonlocal fetched_count
        fetched_count += 1
        if fetched_count % 10 == 0:
            raise TransportError("connection reset")
        return Answer(fetched("1", "2").items, "req", None, {})

    plan = CostPlan.build(["a"], date(2018, 11, 1), date(2018, 11, 30), "day")
    async with PullRun(plan, fetch, worker_count=4) as run:
        report = await write_costs(run, tmp_path / "x.jsonl")
    assert (report.ok, report.failed, report.rows, report.complete) == (27, 3, 54, False)
    assert (tmp_path / "x.jsonl").read_bytes().count(b"\n") == 54


def test_text_needs_no_pyarrow(tmp_path: Path) -> None:
    """JSON lines and CSV work without pyarrow, and the error for Parquet names the extra."""
    code = """
import asyncio, sys
sys.modules["pyarrow"] = None
from spot_billing_async import CostQuery, Fetched
from spot_billing_async.export import open_writer
async def main():
    for ending in ("jsonl", "csv", "parquet"):
        async with open_writer(f"x.{ending}") as writer:
            await writer.write(Fetched(CostQuery(), [], None, 1, 0.0))
asyncio.run(main())
"""
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.jsonl"]
    assert "MissingExtraError" in done.stderr
    assert "pip install '.[export]'" in done.stderr


async def test_a_pipe_or_device_is_not_replaced(tmp_path: Path) -> None:
    """A path that is not a regular file is an error and is not replaced."""
    pipe = tmp_path / "x.csv"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="a device or a pipe"):
        async with open_writer(pipe):
            pass
    assert pipe.is_fifo()


async def test_a_writer_is_used_once_and_inside_its_block(tmp_path: Path) -> None:
    """Writing after the block and entering a writer twice are errors."""
    writer = open_writer(tmp_path / "x.csv")
    outcome: Fetched[CostItem] = Fetched(CostQuery(), [], None, 1, 0.0)
    async with writer:
        await writer.write(outcome)
    with pytest.raises(ConfigError, match="inside its 'async with'"):
        await writer.write(outcome)
    with pytest.raises(ConfigError, match="entered before"):
        async with writer:
            pass
    assert (tmp_path / "x.csv").read_bytes().startswith(b"query_account_id,")
