"""What is committed together: slices of some answers, as Arrow rows. Used from worker threads."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.models import CostItem
from spot_billing_async.table.diff import Known, changes_of, is_unchanged, runs_to_write
from spot_billing_async.table.planning.window_sizing import Limits
from spot_billing_async.table.report import Books, Change
from spot_billing_async.table.scope import Scope
from spot_billing_async.table.slices import Cut, Entry, Slice, slices_of
from spot_billing_async.table.storage.store import Part, TableStore, costs_rows

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
        self._closed = Part([], [])
        self._mutable = Part([], [])
        self._entries: list[Entry] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to commit."""
        rows = sum(table.num_rows for part in (self._closed, self._mutable) for table in part.rows)
        is_large = rows >= _BATCH_ROWS or self._runs >= _BATCH_RUNS
        return is_large or self._answers >= self._max_answers

    def add(self, answer: Fetched[CostItem], fetched_at: datetime) -> Cut:
        """Take the slices of an answer in.

        Args:
            answer: what came.
            fetched_at: when it came.

        Returns:
            How it was cut: the slices that were taken in, and days that are spoilt.

        Raises:
            DecodeError, ExportError: nothing of it fits into the table.
        """
        cut = slices_of(answer, self._known.of, fetched_at=fetched_at, as_of=self._scope.today)
        judged = [self._judge(each) for each in cut.slices]
        runs = runs_to_write([each.is_unchanged for each in judged], _RUNS_AN_ANSWER)
        written = [cut.slices[index] for run in runs for index in run]
        closed_before = self._scope.mutable_from
        for part, mine in (
            (self._closed, [each for each in written if each.entry.to_date < closed_before]),
            (self._mutable, [each for each in written if each.entry.to_date >= closed_before]),
        ):
            items = [item for each in mine for item in each.answer.items]
            part.rows.append(costs_rows(msgspec.structs.replace(answer, items=items), fetched_at))
            part.keys.extend(each.entry.key for each in mine)
        self._answers += 1
        self._runs += len(runs)
        self._entries += [each.entry for each in cut.slices]
        self._books.rows_written += sum(len(each.answer.items) for each in written)
        for each in judged:
            self._book(each)
        return cut

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

    def commit(self, limits: Callable[[str], Limits], rate_limit: RateLimit | None) -> None:
        """Commit what was taken in, if anything was.

        Args:
            limits: what is to be remembered of the widths that an account may be asked for.
            rate_limit: what is to be remembered of the server's rate limit.

        Raises:
            TableConflictError, TableError: as `TableStore.commit`.
        """
        if self._entries:
            entries = [
                msgspec.structs.replace(entry, **limits(entry.account_id)._asdict())
                for entry in self._entries
            ]
            parts = (self._closed, self._mutable)
            self._store.commit(self._scope.group_by, parts, entries, rate_limit)
        self._clear()
