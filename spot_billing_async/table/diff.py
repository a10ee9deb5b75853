"""What an answered slice is beside what the ledger knew of it: new, unchanged, or changed. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from itertools import groupby

from spot_billing_async.models.money import merge_totals
from spot_billing_async.table.report import Change
from spot_billing_async.table.slices import Entry, Key
from spot_billing_async.table.storage.invalidation import NO_CONTENT

_ZERO = Decimal(0)


class Known:
    """The entries of the ledger that a sync may replace."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_account: dict[str, dict[Key, Entry]] = {}
        for entry in entries:
            self._by_account.setdefault(entry.account_id, {})[entry.key] = entry

    def of(self, account_id: str) -> list[Entry]:
        """Those of an account."""
        return list(self._by_account.get(account_id, {}).values())

    def replaced_by(self, entry: Entry) -> list[Entry]:
        """Those that a slice takes the place of: the same one, or the days within a window."""
        mine = self._by_account.get(entry.account_id, {})
        if entry.from_date == entry.to_date:
            return [mine[entry.key]] if entry.key in mine else []
        return [
            old
            for old in mine.values()
            if entry.from_date <= old.from_date and old.to_date <= entry.to_date
        ]


def is_unchanged(entry: Entry, replaced: Iterable[Entry]) -> bool:
    """Whether the table has exactly this slice, with the same content."""
    return [(old.key, old.digest) for old in replaced] == [(entry.key, entry.digest)]


def runs_to_write(unchanged: Sequence[bool], most_runs: int) -> list[range]:
    """Which slices of an answer are written: runs of those that are not unchanged, by their index.

    Each run is a clause of what the commit replaces, and many take deltalake longer than the rows
    between them. Where there are more than `most_runs`, all from the first to the last are written.
    """
    runs: list[range] = []
    for is_unchanged, indices in groupby(range(len(unchanged)), unchanged.__getitem__):
        if not is_unchanged:
            run = list(indices)
            runs.append(range(run[0], run[-1] + 1))
    return runs if len(runs) <= most_runs else [range(runs[0].start, runs[-1].stop)]


def changes_of(entry: Entry, replaced: Sequence[Entry]) -> list[Change]:
    """What a slice with another content changes, by currency; nothing where there was none.

    Currencies whose total stays are left out, unless all of them do.
    """
    if not replaced:
        return []
    old = reduce(merge_totals, (each.totals for each in replaced), dict[str, Decimal]())
    currencies = sorted({*old, *entry.totals})
    has_lost_rows = any(each.digest == NO_CONTENT for each in replaced)
    moved = [code for code in currencies if _of(old, code) != _of(entry.totals, code)]
    return [
        Change(
            account_id=entry.account_id,
            from_date=entry.from_date,
            to_date=entry.to_date,
            currency=code,
            old_total=_of(old, code),
            new_total=_of(entry.totals, code),
        )
        for code in moved or (() if has_lost_rows else currencies)
    ]


def _of(totals: Mapping[str, Decimal], code: str) -> Decimal:
    return totals.get(code, _ZERO)
