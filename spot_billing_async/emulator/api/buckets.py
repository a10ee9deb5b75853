"""Buckets: folders of FOCUS exports under one root, linked by setup calls."""

import os
from pathlib import Path
from typing import Any

from spot_billing_async.emulator.data.database import Cursor
from spot_billing_async.emulator.data.focus import FocusError, is_export, stage
from spot_billing_async.emulator.data.ledger import fitting_scale
from spot_billing_async.emulator.responses import Entry, invalid


class BucketError(ValueError):
    """A bucket has nothing that could be ingested, and why."""


def demand_inside(root: Path | None, name: str) -> None:
    """Refuse a name that could stand for anything but a folder right under `root`.

    Raises:
        Refused: 400, the name is empty, a path, or a link that leads out.
    """
    if not _is_plain(name) or (root is not None and not _is_inside(root, name)):
        entry = Entry("body.billingEngine.bucketName", "\"bucketName\" can't be a bucket's name")
        raise invalid(entry)


def exports(root: Path | None, name: str) -> list[Path]:
    """The exports of a bucket, by path; links that lead out of it are not followed.

    Raises:
        BucketError: there is no such folder, or no export in it.
    """
    if root is None:
        raise BucketError("the server was started without a folder of buckets")
    try:
        # Asked again: a link may have been laid since the bucket was set up.
        if not _is_inside(root, name) or not (root / name).is_dir():
            raise BucketError("there is no such bucket")
        folder = (root / name).resolve()
        found = sorted(path for path in folder.rglob("*") if is_export(path) and path.is_file())
        paths = [path for path in found if path.resolve().is_relative_to(folder)]
    except OSError as error:
        raise BucketError(f"the bucket can't be read: {error.strerror}") from error
    if not paths:
        raise BucketError("there is no export in the bucket: no .csv, .csv.gz or .parquet")
    return paths


def report(cursor: Cursor, root: Path | None, name: str) -> list[dict[str, Any]]:
    """What is wrong with a bucket, item by item, and which files are as they should be."""
    bucket = {"bucketName": name}
    try:
        paths = exports(root, name)
    except BucketError as error:
        return [bucket | {"valid": False, "message": str(error)}]
    return [
        bucket | {"file": path.name} | finding
        for path in paths
        for finding in _examine(cursor, path)
    ]


def _examine(cursor: Cursor, path: Path) -> list[dict[str, Any]]:
    try:
        staged = stage(cursor, path)
        fitting_scale(cursor, path, staged)
    except FocusError as error:
        return [
            {"valid": False, "message": problem.message}
            | ({"column": problem.column} if problem.column else {})
            for problem in error.problems
        ]
    return [{"valid": True, "rows": staged.row_count}]


def _is_plain(name: str) -> bool:
    # Nothing but dots is no name: the folder itself, the one above.
    return name.strip(".") != "" and not any(mark in name for mark in "/\\\0")


def _is_inside(root: Path, name: str) -> bool:
    try:
        resolved = (root / name).resolve()
        # What is still a link is one of a loop: Python 3.13 leaves those as they are.
        return resolved.parent == root.resolve() and not os.path.islink(resolved)  # noqa: PTH114  unlike Path's, never raises
    except (OSError, RuntimeError):  # too long a name; a loop of links, before Python 3.13
        return False
