"""Buckets: subfolders of one root folder with FOCUS exports, linked by setup calls.

Others may write to a bucket while it is read. So no path is checked first and opened later: folders
and files are opened without following links, and what was opened is checked and read.
"""

import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from spot_billing_async.emulator.data import ledger
from spot_billing_async.emulator.data.database import Cursor
from spot_billing_async.emulator.data.focus import FocusError, Problem, is_export, stage
from spot_billing_async.emulator.responses import ErrorDetail, invalid_request

# O_NONBLOCK: opening a pipe must not wait for its other end.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class BucketError(ValueError):
    """Bucket that does not exist, cannot be read, or contains no exports."""


class Export(NamedTuple):
    """File in a bucket: its path, and a descriptor of its folder that is open for the moment."""

    path: Path
    folder: int

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """Copy the file for the time of the block, and return the path of the copy.

        DuckDB opens a file by its path, several times, which could lead to other files each time.

        Raises:
            FocusError: the file cannot be read, or is a link or no file by now.
        """
        with TemporaryDirectory(prefix="spot-billing-") as private:
            copy = Path(private) / self.path.name
            try:
                descriptor = os.open(self.path.name, _READ, dir_fd=self.folder)
                try:
                    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
                    if is_file:
                        source = os.fdopen(descriptor, "rb", closefd=False)
                        with source, copy.open("xb") as target:
                            shutil.copyfileobj(source, target)
                finally:
                    os.close(descriptor)
            except OSError as error:
                message = f"cannot be read: {error.strerror}"
                raise FocusError(self.path, [Problem(None, message)]) from error
            if not is_file:
                raise FocusError(self.path, [Problem(None, "is not a regular file")])
            yield copy


def check_bucket_name(root: Path | None, name: str) -> None:
    """Raise unless `name` can only denote a folder directly under `root`.

    Raises:
        ApiProblem: 400, the name is empty, a path, or a link.
    """
    # A name of only dots denotes the root itself or its parent.
    is_plain = name.strip(".") != "" and not any(character in name for character in "/\\\0")
    # os.path's function, unlike Path's, never raises.
    if not is_plain or (root is not None and os.path.islink(root / name)):  # noqa: PTH114
        message = '"bucketName" is not a valid bucket name'
        raise invalid_request(ErrorDetail("body.billingEngine.bucketName", message))


def exports(root: Path | None, name: str) -> Generator[Export, None, None]:
    """Yield the exports of a bucket, folder by folder, sorted; links are left out.

    Raises:
        BucketError: the folder does not exist, cannot be read, or contains no exports.
    """
    if root is None:
        raise BucketError("the server was started without a buckets folder")
    is_empty = True
    try:
        with _opened_folder(root / name) as bucket:
            # Enters a subfolder only if what it opened is what it saw, and no link.
            for folder, names, files, descriptor in os.fwalk(".", onerror=_fail, dir_fd=bucket):
                names.sort()
                for file in sorted(file for file in files if is_export(Path(file))):
                    status = os.stat(file, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        is_empty = False
                        yield Export(root.resolve() / name / folder / file, descriptor)
    except OSError as error:
        raise BucketError(f"the bucket cannot be read: {error.strerror}") from error
    if is_empty:
        raise BucketError("the bucket contains no .csv, .csv.gz or .parquet file")


def ingest_bucket(cursor: Cursor, root: Path | None, name: str) -> list[ledger.Source]:
    """Ingest the exports of a bucket, and remove files that are no longer in it from the ledger.

    Raises:
        BucketError: the bucket has no exports or cannot be read.
        FocusError: a file cannot be read. The caller must roll the transaction back in both cases.
    """
    sources = []
    with closing(exports(root, name)) as found:
        for export in found:
            with export.copied() as copy:
                sources.append(ledger.ingest(cursor, export.path, name, copy))
    ledger.remove_absent(cursor, name, sources)
    return sources


def validate_bucket(cursor: Cursor, root: Path | None, name: str) -> list[dict[str, Any]]:
    """Return one item for each valid file of a bucket, and one for each error."""
    bucket = {"bucketName": name}
    results = []
    try:
        for export in exports(root, name):
            file = bucket | {"file": export.path.name}
            results += [file | result for result in _validate(cursor, export)]
    except BucketError as error:
        return [bucket | {"valid": False, "message": str(error)}]
    return results


def _validate(cursor: Cursor, export: Export) -> list[dict[str, Any]]:
    try:
        with export.copied() as copy:
            staged = stage(cursor, copy)
            ledger.required_scale(cursor, copy, staged)
    except FocusError as error:
        return [
            {"valid": False, "message": problem.message}
            | ({"column": problem.column} if problem.column else {})
            for problem in error.problems
        ]
    return [{"valid": True, "rows": staged.row_count}]


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, _READ | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):  # the latter also for a link
        raise BucketError("the bucket does not exist") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fail(error: OSError) -> None:
    raise error
