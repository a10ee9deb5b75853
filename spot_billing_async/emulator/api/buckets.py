"""Buckets: subfolders of one root folder with FOCUS exports, linked by setup calls."""

import os
from pathlib import Path
from typing import Any

from spot_billing_async.emulator.data.database import Cursor
from spot_billing_async.emulator.data.focus import FocusError, is_export, stage
from spot_billing_async.emulator.data.ledger import required_scale
from spot_billing_async.emulator.responses import ErrorDetail, invalid_request


class BucketError(ValueError):
    """Bucket that does not exist, cannot be read, or contains no exports."""


def check_bucket_name(root: Path | None, name: str) -> None:
    """Raise unless `name` can only denote a folder directly under `root`.

    Raises:
        ApiProblem: 400, the name is empty, a path, or a link to a place outside of `root`.
    """
    # A name of only dots denotes the root itself or its parent.
    is_plain = name.strip(".") != "" and not any(character in name for character in "/\\\0")
    if not is_plain or (root is not None and not _is_inside(root, name)):
        message = '"bucketName" is not a valid bucket name'
        raise invalid_request(ErrorDetail("body.billingEngine.bucketName", message))


def list_exports(root: Path | None, name: str) -> list[Path]:
    """Return the exports of a bucket, sorted; links to files outside of it are left out.

    Raises:
        BucketError: the folder does not exist, cannot be read, or contains no exports.
    """
    if root is None:
        raise BucketError("the server was started without a buckets folder")
    try:
        # Checked again: the folder may have become a link since the bucket was set up.
        if not _is_inside(root, name) or not (root / name).is_dir():
            raise BucketError("the bucket does not exist")
        folder = (root / name).resolve()
        found = sorted(path for path in folder.rglob("*") if is_export(path) and path.is_file())
        paths = [path for path in found if path.resolve().is_relative_to(folder)]
    except OSError as error:
        raise BucketError(f"the bucket cannot be read: {error.strerror}") from error
    if not paths:
        raise BucketError("the bucket contains no .csv, .csv.gz or .parquet file")
    return paths


def validate_bucket(cursor: Cursor, root: Path | None, name: str) -> list[dict[str, Any]]:
    """Return one item for each valid file of a bucket, and one for each error."""
    bucket = {"bucketName": name}
    try:
        paths = list_exports(root, name)
    except BucketError as error:
        return [bucket | {"valid": False, "message": str(error)}]
    return [
        bucket | {"file": path.name} | result
        for path in paths
        for result in _validate_file(cursor, path)
    ]


def _validate_file(cursor: Cursor, path: Path) -> list[dict[str, Any]]:
    try:
        staged = stage(cursor, path)
        required_scale(cursor, path, staged)
    except FocusError as error:
        return [
            {"valid": False, "message": problem.message}
            | ({"column": problem.column} if problem.column else {})
            for problem in error.problems
        ]
    return [{"valid": True, "rows": staged.row_count}]


def _is_inside(root: Path, name: str) -> bool:
    try:
        resolved = (root / name).resolve()
        # A path that is still a link is part of a loop, which Python 3.13 leaves unresolved.
        return resolved.parent == root.resolve() and not os.path.islink(resolved)  # noqa: PTH114  unlike Path's, never raises
    except (OSError, RuntimeError):  # a name that is too long; a loop of links before Python 3.13
        return False
