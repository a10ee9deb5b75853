"""What is committed together: slices of some answers, as Arrow rows. Used from worker threads."""

from datetime import datetime
from typing import NamedTuple

import msgspec
import pyarrow as pa

from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.models import CostItem
from spot_billing_async.quota import RateLimit
from spot_billing_async.table.books import Books
from spot_billing_async.table.compare import Known, changes_of, is_unchanged, runs_to_write
from spot_billing_async.table.report import Change
from spot_billing_async.table.scope import Scope
from spot_billing_async.table.slices import Entry, Key, Slice, slices_of
from spot_billing_async.table.store import COSTS, TableStore, costs_rows
from spot_billing_async.table.widths import Limits

_BATCH_ROWS = 65_536
_BATCH_RUNS = 64
_RUNS_AN_ANSWER = 16
"""Runs of days that are replaced: deltalake's time grows with their square, 64 take some 0.1 s."""


class _Judged(NamedTuple):
    """A slice beside what the ledger knew of it."""

    slice: Slice
    is_new: bool
    is_unchanged: bool
    changes: list[Change]


class Batch:
    """Collects slices, and commits them.

    Args:
        store: where to.
        scope: what the table is to hold.
        known: what the ledger knows.
        books: what becomes of each day.
        max_answers: answers of a commit at most.
    """

    def __init__(
        self, store: TableStore, scope: Scope, known: Known, books: Books, max_answers: int
    ) -> None:
        self._store = store
        self._scope = scope
        self._known = known
        self._books = books
        self._max_answers = max_answers
        self._clear()

    def _clear(self) -> None:
        self._answers = 0
        self._runs = 0
        self._rows: list[pa.Table] = []
        self._changed: list[Key] = []
        self._entries: list[Entry] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to commit."""
        rows = sum(table.num_rows for table in self._rows)
        is_large = rows >= _BATCH_ROWS or self._runs >= _BATCH_RUNS
        return is_large or self._answers >= self._max_answers

    def add(self, answer: Fetched[CostItem], limits: Limits, fetched_at: datetime) -> list[int]:
        """Take the slices of an answer in: all of them, or none.

        Args:
            answer: what came.
            limits: what is known of the widths that the server bears.
            fetched_at: when it came.

        Returns:
            The rows of each day; of days that cannot be told apart, the first one has them all.

        Raises:
            DecodeError, ExportError: what came does not fit into the table.
        """
        slices = slices_of(
            answer,
            self._known.of,
            fetched_at=fetched_at,
            as_of=self._scope.today,
            limits=limits,
        )
        judged = [self._judge(each) for each in slices]
        runs = runs_to_write([each.is_unchanged for each in judged], _RUNS_AN_ANSWER)
        written = [slices[index] for run in runs for index in run]
        items = [item for each in written for item in each.answer.items]
        self._rows.append(costs_rows(msgspec.structs.replace(answer, items=items), fetched_at))
        self._answers += 1
        self._runs += len(runs)
        self._changed += [each.entry.key for each in written]
        self._entries += [each.entry for each in slices]
        self._books.rows_written += len(items)
        for each in judged:
            self._book(each)
        return [rows for each in slices for rows in each.entry.rows_by_day]

    def _judge(self, each: Slice) -> _Judged:
        replaced = self._known.replaced_by(each.entry)
        unchanged = is_unchanged(each.entry, replaced)
        changes = [] if unchanged else changes_of(each.entry, replaced)
        return _Judged(each, not replaced, unchanged, changes)

    def _book(self, judged: _Judged) -> None:
        entry = judged.slice.entry
        days = entry.days
        if judged.is_new:
            self._books.new_days += days
        elif judged.is_unchanged:
            self._books.unchanged_days += days
        else:
            self._books.changed_days += days
        self._books.changes += judged.changes

    def commit(self, rate_limit: RateLimit | None) -> None:
        """Commit what was taken in, if anything was, and note what the server's rate limit is.

        Raises:
            TableConflictError, TableError: as `TableStore.commit`.
        """
        if self._entries:
            rows = pa.concat_tables([COSTS.empty_table(), *self._rows])
            self._store.commit(
                self._scope.group_by,
                self._changed,
                rows,
                self._entries,
                self._scope.mutable_from,
                rate_limit,
            )
        self._clear()
