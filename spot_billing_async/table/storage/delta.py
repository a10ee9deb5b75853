"""The one file that uses deltalake (extra: table). It blocks: it is called from worker threads.

A handle keeps the version of its table that it has read, and advances by its own commits only.
Delta's conflict check then finds every commit of another process to the same rows since that
version, not only one that is made at the same moment.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

from spot_billing_async.errors import ConfigError, MissingExtraError, SpotBillingError
from spot_billing_async.export import ExportError
from spot_billing_async.table.storage.location import (
    access_problem,
    has_other_content,
    local_folder,
)

try:
    import deltalake
    import pyarrow as pa
    from deltalake.exceptions import CommitFailedError, TableNotFoundError
except ImportError as _missing:
    raise MissingExtraError(
        f"a Delta table needs {_missing.name or 'deltalake'}: pip install '.[table]'"
    ) from _missing

_LATEST_COMMITS = 10
"""Commits to search for metadata: those of other tools, such as OPTIMIZE, have none of ours."""

_DECORATION = re.compile(r"\x1b\[[0-9;]*m|↳")
"""Colours and arrows with which deltalake prints a chain of causes."""

_LONG_LOG = 100
"""Number of commits from which a checkpoint makes reading the log faster."""

# See `DeltaTable.checkpoint_long_log`, which writes them instead.
_NO_CHECKPOINT = deltalake.PostCommitHookProperties(create_checkpoint=False)


class TableError(ExportError):
    """A table could not be read or written; the message names the table and the reason."""


class TableConflictError(TableError):
    """Another process changed the same slices at the same time; these are not in the ledger.

    Earlier commits of this sync stay. The next sync requests only what is missing.
    """


class DeltaTable:
    """A Delta table at the version at which it was opened, plus this handle's commits."""

    def __init__(self, uri: str, table: deltalake.DeltaTable) -> None:
        self.uri = uri
        self._table = table

    @classmethod
    def open(cls, uri: str, schema: pa.Schema) -> Self | None:
        """Open the table at a location; return None if there is none.

        Raises:
            ConfigError: the table there has other columns.
            TableError: the table could not be read.
        """
        with _translate_errors(uri):
            try:
                table = deltalake.DeltaTable(uri)
            except TableNotFoundError:
                return None
            found = pa.schema(table.schema().to_arrow())
        if _columns(found) != _columns(schema):
            raise ConfigError(
                "table must be a new location or a table that sync created, got "
                f"{uri!r} with the columns {', '.join(found.names)}"
            )
        return cls(uri, table)

    @classmethod
    def open_or_create(cls, uri: str, schema: pa.Schema, partition_by: Sequence[str]) -> Self:
        """Open the table at a location; create an empty one if there is none.

        Raises:
            ConfigError, TableError: as `open`.
        """
        existing = cls.open(uri, schema)
        if existing is not None:
            existing.checkpoint_long_log()
            return existing
        try:
            with _translate_errors(uri):
                deltalake.DeltaTable.create(
                    uri, schema, mode="ignore", partition_by=list(partition_by)
                )
        except TableConflictError:
            pass  # another process created it at the same moment
        created = cls.open(uri, schema)
        if created is None:
            raise TableError(f"{uri}: the table was created but cannot be found")
        return created

    def checkpoint_long_log(self) -> None:
        """Write a checkpoint if the log is long, so that opening the table stays fast.

        Commits write none: beside their rows it would take too much memory.
        """
        if self._table.version() >= _LONG_LOG:
            with _translate_errors(self.uri):
                self._table.create_checkpoint()

    def has_rows(self) -> bool:
        """Return whether the table has any row.

        Raises:
            TableError: the table could not be read.
        """
        return any(batch.num_rows for batch in self.query("SELECT 1 FROM t LIMIT 1"))

    def replace(
        self, rows: pa.Table, predicate: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Replace the rows that a predicate selects, in one commit with this metadata.

        Raises:
            TableConflictError: another process committed rows that the predicate selects.
            TableError: the table could not be written; nothing changed.
        """
        with _translate_errors(self.uri):
            deltalake.write_deltalake(
                self._table,
                rows,
                mode="overwrite",
                predicate=predicate,
                commit_properties=deltalake.CommitProperties(custom_metadata=dict(metadata or {})),
                post_commithook_properties=_NO_CHECKPOINT,
            )

    def commit_metadata(self, name: str) -> str | None:
        """Return a value from the metadata of the latest commits; None if none has it.

        Raises:
            TableError: the log could not be read.
        """
        with _translate_errors(self.uri):
            commits = self._table.history(_LATEST_COMMITS)
        return next((str(commit[name]) for commit in commits if name in commit), None)

    def query(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield the batches that a SELECT returns; the name of this table in it is `t`.

        Raises:
            TableError: the table could not be read.
        """
        with _translate_errors(self.uri):
            result = deltalake.QueryBuilder().register("t", self._table).execute(sql)
            yield from pa.RecordBatchReader.from_stream(result)


def check_location(uri: str, *, to_write: bool) -> None:
    """Raise unless a folder is a table or can become one; an object store is not checked.

    Raises:
        ConfigError: the folder has other content.
        TableError: the location is not a folder, or may not be read (or written).
    """
    folder = local_folder(uri)
    if folder is None:
        return
    with _translate_errors(uri):
        problem = access_problem(folder, to_write=to_write)
        if problem is not None:
            raise TableError(f"{uri}: {problem}")
        if has_other_content(folder):
            raise ConfigError(
                "table must be a new or empty folder, or a table that sync created, got "
                f"{str(folder)!r} with other content"
            )


def _columns(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in schema]


@contextmanager
def _translate_errors(uri: str) -> Iterator[None]:
    """Raise every error of deltalake, Arrow and the system as an error of this package."""
    try:
        yield
    except SpotBillingError:
        raise
    except CommitFailedError as error:
        raise TableConflictError(
            f"{uri}: another sync changed the same part of the table; run again "
            f"({_one_line(error)})"
        ) from error
    except Exception as error:
        # Every type: the Rust side raises ValueError and plain Exception too.
        raise TableError(f"{uri}: {_one_line(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the Rust side; no module exports it
            raise
        raise TableError(f"{uri}: deltalake panicked: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """Return the message of an error and its causes as one line; the type's name if empty."""
    lines = (line.strip() for line in _DECORATION.sub("", str(error)).splitlines())
    return ": ".join(filter(None, lines)) or type(error).__name__
