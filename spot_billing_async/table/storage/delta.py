"""The one file that uses deltalake (extra: table). It blocks: it is called from worker threads.

A handle keeps the version of its table that it saw, and moves on with its own commits alone. A
commit of somebody else's that touches the same rows is then found by Delta's own check of
conflicts, however long ago it was made, and not only where two commits meet by chance.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

from spot_billing_async.errors import ConfigError, MissingExtraError, SpotBillingError
from spot_billing_async.export import ExportError
from spot_billing_async.table.storage.location import is_taken, local_folder, problem_of

try:
    import deltalake
    import pyarrow as pa
    from deltalake.exceptions import CommitFailedError, TableNotFoundError
except ImportError as error:
    raise MissingExtraError(
        "a Delta table needs an extra: pip install 'spot-billing-async[table]'"
    ) from error


_LATEST_COMMITS = 10
"""Those of others, such as OPTIMIZE, note nothing of ours."""


_DECORATION = re.compile(r"\x1b\[[0-9;]*m|↳")
"""What deltalake draws a chain of causes with."""


_LONG_LOG = 100
"""Commits; fewer are read one by one as fast."""

_NO_CHECKPOINT = deltalake.PostCommitHookProperties(create_checkpoint=False)


class TableError(ExportError):
    """The table could not be read or written; the message names it and why."""


class TableConflictError(TableError):
    """Somebody else changed the same slices meanwhile; they are not in the ledger as ours.

    What was committed before stands. Running again asks only for what is missing.
    """


class DeltaTable:
    """A Delta table, as it was when it was opened, and as this handle's commits left it."""

    def __init__(self, uri: str, table: deltalake.DeltaTable) -> None:
        self.uri = uri
        self._table = table

    @classmethod
    def opened(cls, uri: str, schema: pa.Schema) -> Self | None:
        """The table at a place; None where there is none.

        Raises:
            ConfigError: a table of other columns is there.
            TableError: it could not be read.
        """
        with _translated(uri):
            try:
                table = deltalake.DeltaTable(uri)
            except TableNotFoundError:
                return None
            met = pa.schema(table.schema().to_arrow())
        if _shape(met) != _shape(schema):
            raise ConfigError(
                f"table: {uri!r} has the columns {', '.join(met.names)}; allowed: a new place, or "
                "a table that sync made"
            )
        return cls(uri, table)

    @classmethod
    def made(cls, uri: str, schema: pa.Schema, partition_by: Sequence[str]) -> Self:
        """The table at a place; an empty one is made where there is none.

        Raises:
            ConfigError, TableError: as `opened`.
        """
        opened = cls.opened(uri, schema)
        if opened is not None:
            opened.shorten_log()
            return opened
        try:
            with _translated(uri):
                deltalake.DeltaTable.create(
                    uri, schema, mode="ignore", partition_by=list(partition_by)
                )
        except TableConflictError:
            pass  # somebody else made it in this very moment
        made = cls.opened(uri, schema)
        if made is None:
            raise TableError(f"{uri}: the table was made, and is not there")
        return made

    def shorten_log(self) -> None:
        """Sum a long log up, before there is much else in memory; commits themselves do not."""
        if self._table.version() >= _LONG_LOG:
            with _translated(self.uri):
                self._table.create_checkpoint()

    def has_rows(self) -> bool:
        """Whether there is any row.

        Raises:
            TableError: it could not be read.
        """
        return any(batch.num_rows for batch in self.query("SELECT 1 FROM t LIMIT 1"))

    def replace(
        self, rows: pa.Table, predicate: str, notes: Mapping[str, str] | None = None
    ) -> None:
        """Put rows in the place of those that a predicate selects, all in one commit.

        `notes` are kept in the log with it.

        Raises:
            TableConflictError: somebody else committed rows that the predicate selects.
            TableError: it could not be written; nothing changed.
        """
        with _translated(self.uri):
            deltalake.write_deltalake(
                self._table,
                rows,
                mode="overwrite",
                predicate=predicate,
                commit_properties=deltalake.CommitProperties(custom_metadata=dict(notes or {})),
                post_commithook_properties=_NO_CHECKPOINT,
            )

    def note(self, name: str) -> str | None:
        """What the latest commits noted under a name; None for nothing.

        Raises:
            TableError: the log could not be read.
        """
        with _translated(self.uri):
            commits = self._table.history(_LATEST_COMMITS)
        return next((str(commit[name]) for commit in commits if name in commit), None)

    def query(self, sql: str) -> Iterator[pa.RecordBatch]:
        """What a SELECT finds, in batches; this table's name in it is `t`.

        Raises:
            TableError: it could not be read.
        """
        with _translated(self.uri):
            found = deltalake.QueryBuilder().register("t", self._table).execute(sql)
            yield from pa.RecordBatchReader.from_stream(found)


def check_place(uri: str, *, to_write: bool) -> None:
    """See that a folder is a table or can become one; of object stores nothing is known before.

    Raises:
        ConfigError: it holds something else.
        TableError: it may not be read (or written), or is no folder.
    """
    folder = local_folder(uri)
    if folder is None:
        return
    with _translated(uri):
        problem = problem_of(folder, to_write=to_write)
        if problem is not None:
            raise TableError(f"{uri}: {problem}")
        if is_taken(folder):
            raise ConfigError(
                f"table: {str(folder)!r} holds something else than a table; allowed: a new or "
                "empty folder, or a table that sync made"
            )


def _shape(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in schema]


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Nothing of deltalake, Arrow or the system gets out of here."""
    try:
        yield
    except SpotBillingError:
        raise
    except CommitFailedError as error:
        raise TableConflictError(
            f"{uri}: another sync changed the same part of the table; run again ({_told(error)})"
        ) from error
    except Exception as error:
        # Any: the Rust side raises what it has, ValueError and plain Exception among it.
        raise TableError(f"{uri}: {_told(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the Rust side; no module exports it
            raise
        raise TableError(f"{uri}: deltalake cannot cope with it: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """What an error says, its causes included, in a line; or its name."""
    lines = (line.strip() for line in _DECORATION.sub("", str(error)).splitlines())
    return ": ".join(filter(None, lines)) or type(error).__name__
