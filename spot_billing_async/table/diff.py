"""Comparison of fetched slices with the ledger: new, unchanged or changed. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from itertools import groupby

from spot_billing_async.models.money import merge_totals
from spot_billing_async.table.ledger import UNKNOWN_DIGEST, LedgerEntry, SliceKey
from spot_billing_async.table.report import Change

_ZERO = Decimal(0)


class ReplaceableEntries:
    """Index of the ledger entries that a sync may replace."""

    def __init__(self, entries: Iterable[LedgerEntry]) -> None:
        self._by_account: dict[str, dict[SliceKey, LedgerEntry]] = {}
        for entry in entries:
            self._by_account.setdefault(entry.account_id, {})[entry.key] = entry

    def of_account(self, account_id: str) -> list[LedgerEntry]:
        """Return the entries of one account."""
        return list(self._by_account.get(account_id, {}).values())

    def replaced_by(self, entry: LedgerEntry) -> list[LedgerEntry]:
        """Return the entries that a new entry replaces: the same slice, or parts of its window."""
        entries = self._by_account.get(entry.account_id, {})
        if entry.from_date == entry.to_date:  # by far the most frequent case, so by index
            return [entries[entry.key]] if entry.key in entries else []
        return [old for old in entries.values() if old.is_within(entry.window)]


def is_unchanged(entry: LedgerEntry, replaced: Iterable[LedgerEntry]) -> bool:
    """Return whether the table has exactly this slice, with the same content."""
    return [(old.key, old.digest) for old in replaced] == [(entry.key, entry.digest)]


def runs_to_write(unchanged: Sequence[bool], max_runs: int) -> list[range]:
    """Return the slices of a response to write: runs of changed ones, as ranges of their indices.

    Each run is one clause in the predicate of the commit, and many clauses take deltalake longer
    than writing the rows between them. Where there would be more than `max_runs`, one run from the
    first changed slice to the last is returned.
    """
    runs: list[range] = []
    for is_same, indices in groupby(range(len(unchanged)), unchanged.__getitem__):
        if not is_same:
            run = list(indices)
            runs.append(range(run[0], run[-1] + 1))
    return runs if len(runs) <= max_runs else [range(runs[0].start, runs[-1].stop)]


def find_changes(entry: LedgerEntry, replaced: Sequence[LedgerEntry]) -> list[Change]:
    """Return the changes by currency that a slice with other content makes; none for a new slice.

    Currencies whose total is the same are left out, unless every total is the same.
    """
    if not replaced:
        return []
    old = reduce(merge_totals, (each.totals for each in replaced), dict[str, Decimal]())
    currencies = sorted({*old, *entry.totals})
    changed = [code for code in currencies if _total(old, code) != _total(entry.totals, code)]
    # Equal totals are a restatement between groups, unless rows of the table had been lost: then
    # the server never sent other amounts.
    if not changed and not any(each.digest == UNKNOWN_DIGEST for each in replaced):
        changed = currencies
    return [
        Change(
            account_id=entry.account_id,
            from_date=entry.from_date,
            to_date=entry.to_date,
            currency=code,
            old_total=_total(old, code),
            new_total=_total(entry.totals, code),
        )
        for code in changed
    ]


def _total(totals: Mapping[str, Decimal], code: str) -> Decimal:
    return totals.get(code, _ZERO)
