"""Slices that are committed together, as Arrow rows. Used from worker threads."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.models import CostItem
from spot_billing_async.table.diff import (
    ReplaceableEntries,
    find_changes,
    is_unchanged,
    runs_to_write,
)
from spot_billing_async.table.ledger import LedgerEntry, SliceKey
from spot_billing_async.table.planning.window_sizing import RememberedLimits
from spot_billing_async.table.report import SyncProgress
from spot_billing_async.table.scope import Scope
from spot_billing_async.table.slices import SplitResponse, split_response
from spot_billing_async.table.storage.schemas import cost_rows
from spot_billing_async.table.storage.store import Replacement, TableStore

_BATCH_ROWS = 65_536
"""Rows from which a batch is committed; they are in memory until then."""

# Each run of days is a clause in the predicate of the commit. deltalake's time grows with the
# square of their number: 64 take about 0.1 s. A few thousand overflow its stack.
_BATCH_RUNS = 64
_RUNS_PER_RESPONSE = 16


class CommitBatch:
    """Slices waiting for the next commit.

    Args:
        store: the table.
        scope: the arguments of the sync.
        replaceable: the ledger entries that may be replaced.
        progress: counters of the sync.
        max_responses: maximum number of responses per commit.
    """

    def __init__(
        self,
        store: TableStore,
        scope: Scope,
        replaceable: ReplaceableEntries,
        progress: SyncProgress,
        max_responses: int,
    ) -> None:
        self._store = store
        self._scope = scope
        self._replaceable = replaceable
        self._progress = progress
        self._max_responses = max_responses
        self._clear()

    def _clear(self) -> None:
        self._responses = 0
        self._runs = 0
        self._closed = Replacement([], [])
        self._mutable = Replacement([], [])
        self._entries: list[LedgerEntry] = []

    @property
    def is_full(self) -> bool:
        """True if the batch is large enough to be committed."""
        rows = sum(table.num_rows for part in (self._closed, self._mutable) for table in part.rows)
        is_large = rows >= _BATCH_ROWS or self._runs >= _BATCH_RUNS
        return is_large or self._responses >= self._max_responses

    def add(self, key: SliceKey, fetched: Fetched[CostItem], fetched_at: datetime) -> SplitResponse:
        """Add the slices of a response.

        Args:
            key: the account and the window that were requested.
            fetched: the response.
            fetched_at: time of the response, UTC.

        Returns:
            The slices that were added, and the days that the table cannot hold.

        Raises:
            DecodeError, ExportError: the whole response is unusable.
        """
        entries = self._replaceable.of_account(key.account_id)
        today = self._scope.today
        split = split_response(key, fetched, entries, fetched_at=fetched_at, as_of=today)
        replaced = [self._replaceable.replaced_by(each.entry) for each in split.slices]
        unchanged = [
            is_unchanged(each.entry, old) for each, old in zip(split.slices, replaced, strict=True)
        ]
        runs = runs_to_write(unchanged, _RUNS_PER_RESPONSE)
        written = [split.slices[index] for run in runs for index in run]
        mutable_from = self._scope.mutable_from
        for part, slices in (
            (self._closed, [each for each in written if each.entry.to_date < mutable_from]),
            (self._mutable, [each for each in written if each.entry.to_date >= mutable_from]),
        ):
            items = [item for each in slices for item in each.items]
            part.rows.append(cost_rows(msgspec.structs.replace(fetched, items=items), fetched_at))
            part.keys.extend(each.entry.key for each in slices)
        self._responses += 1
        self._runs += len(runs)
        self._entries += [each.entry for each in split.slices]
        self._progress.rows_written += sum(len(each.items) for each in written)
        # Counted last: a response that cannot be converted to rows has failed, and is counted so.
        for each, old, is_same in zip(split.slices, replaced, unchanged, strict=True):
            self._count(each.entry, old, is_same=is_same)
        return split

    def _count(self, entry: LedgerEntry, replaced: list[LedgerEntry], *, is_same: bool) -> None:
        """Count the days of a fetched slice, and its changes."""
        if not replaced:
            self._progress.new_days += entry.window.days
        elif is_same:
            self._progress.unchanged_days += entry.window.days
        else:
            self._progress.changed_days += entry.window.days
            self._progress.changes += find_changes(entry, replaced)

    def commit(
        self, limits: Callable[[str], RememberedLimits], rate_limit: RateLimit | None
    ) -> None:
        """Commit the slices of the batch, if any, and empty it.

        Args:
            limits: returns the limits to store with the entries of an account.
            rate_limit: the server's rate limit to store; None if unknown.

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
