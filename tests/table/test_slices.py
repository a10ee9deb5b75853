"""Splitting of responses into slices, and comparison of their content."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import CostItem, DateWindow, DecodeError, Fetched
from spot_billing_async.export import ExportError
from spot_billing_async.table.diff import (
    ReplaceableEntries,
    find_changes,
    is_unchanged,
    runs_to_write,
)
from spot_billing_async.table.ledger import LedgerEntry, SliceKey
from spot_billing_async.table.slices import FetchedSlice, content_digest, split_response

NOW = datetime(2024, 1, 10, 12, tzinfo=UTC)


def day(n: int) -> date:
    return date(2024, 1, n)


def item(n: int | None, cost: str = "1", service: str = "s3", currency: str = "USD") -> CostItem:
    return CostItem(
        service=service, date=None if n is None else day(n), cost=Decimal(cost), currency=currency
    )


def fetched_of(first: int, last: int, *items: CostItem) -> Fetched[CostItem]:
    return Fetched(key_of(first, last).query(None), list(items), "r", 1, 0.1)


def key_of(first: int, last: int) -> SliceKey:
    return SliceKey("a", DateWindow(day(first), day(last)))


def slices_of(
    first: int, last: int, *items: CostItem, entries: tuple[LedgerEntry, ...] = ()
) -> list[FetchedSlice]:
    """Return the slices of a response to a request for some days of January."""
    fetched = fetched_of(first, last, *items)
    key = key_of(first, last)
    return split_response(key, fetched, entries, fetched_at=NOW, as_of=NOW.date()).slices


items_of_days = st.lists(
    st.builds(
        item,
        st.integers(1, 9),
        st.decimals(-1000, 1000, places=11).map(str),
        st.sampled_from(["s3", "ec2", "rds"]),
        st.sampled_from(["USD", "EUR"]),
    ),
    unique_by=lambda made: (made.date, made.service, made.currency),
)


@given(items=items_of_days)
def test_no_row_is_lost_or_moved(items: list[CostItem]) -> None:
    """Each day, with or without rows, is a slice with its own rows and their exact sums."""
    slices = slices_of(1, 9, *items)
    assert [entry.from_date for entry, _ in slices] == [day(n) for n in range(1, 10)]
    assert all(entry.from_date == entry.to_date for entry, _ in slices)
    found = [each for _, items in slices for each in items]
    assert sorted(map(str, found)) == sorted(map(str, items))
    for code in ("USD", "EUR"):
        mine = sum((each.cost or 0 for each in items if each.currency == code), Decimal(0))
        assert sum((e.totals.get(code, Decimal(0)) for e, _ in slices), Decimal(0)) == mine


@given(items=items_of_days, data=st.data())
def test_a_digest_does_not_depend_on_the_order(items: list[CostItem], data: st.DataObject) -> None:
    """Permuted rows have the same digest."""
    assert content_digest(items) == content_digest(data.draw(st.permutations(items)))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (item(1, "1.50"), item(1, "1.5"), True),
        (item(1, "0.00"), item(1, "-0"), True),
        (item(1, "5e-06"), item(1, "0.000005"), True),
        (item(1, "1"), item(1, "1.00000000000000000000000000001"), False),
        (item(1, "1"), item(1, "-1"), False),
        (item(1), item(2), False),
        (item(1), item(1, service="ec2"), False),
        (item(1), item(1, currency="EUR"), False),
    ],
)
def test_a_digest_does_not_depend_on_the_notation_of_amounts(
    one: CostItem, other: CostItem, same: bool
) -> None:
    """Every digit counts, except trailing zeros."""
    assert (content_digest([one]) == content_digest([other])) is same


def test_the_current_day_is_incomplete() -> None:
    """The current day and later ones are incomplete; the day before is not."""
    slices = slices_of(9, 11)
    assert [entry.incomplete for entry, _ in slices] == [False, True, True]


def test_rows_without_a_date_are_one_slice() -> None:
    """A row without a date may belong to any day of the requested window."""
    ((entry, items),) = slices_of(1, 9, item(None), item(3))
    assert (entry.from_date, entry.to_date, entry.rows) == (day(1), day(9), 2)
    assert items == [item(None), item(3)]


def test_a_row_of_another_day_is_an_error() -> None:
    """A row of a day that was not requested would be counted twice."""
    with pytest.raises(DecodeError, match="2024-01-10"):
        slices_of(2, 9, item(3), item(10))


@pytest.mark.parametrize(
    "items",
    [
        [item(1), item(1, "2")],
        [item(1, "1e20")],
        [item(1, "0.0000000000000000001")],
        [item(1, "9e19"), item(1, "9e19", service="ec2")],
    ],
    ids=str,
)
def test_a_rejected_day_does_not_reject_others(items: list[CostItem]) -> None:
    """A duplicate row, or an amount that the table cannot hold exactly, rejects its day only."""
    fetched = fetched_of(1, 2, *items, item(2))
    split = split_response(key_of(1, 2), fetched, (), fetched_at=NOW, as_of=NOW.date())
    assert [entry.from_date for entry, _ in split.slices] == [day(2)]
    ((days, _),) = split.rejected
    assert days == DateWindow(day(1), day(1))


def test_an_undated_slice_is_replaced_whole_or_not_at_all() -> None:
    """A window that contains only a part of such a slice is refused."""
    ((entry, _),) = slices_of(1, 9, item(None))
    assert len(slices_of(1, 9, item(None, "2"), entries=(entry,))) == 1
    assert len(slices_of(1, 10, item(None, "2"), entries=(entry,))) == 1
    assert [e.rows for e, _ in slices_of(1, 9, entries=(entry,))] == [0]
    assert len(slices_of(1, 9, item(2), entries=(entry,))) == 9
    for first, last, rows in ((2, 9, [item(None)]), (5, 12, [item(None)]), (2, 8, [item(2)])):
        with pytest.raises(ExportError, match="2024-01-01 to 2024-01-09 of a"):
            slices_of(first, last, *rows, entries=(entry,))


@given(unchanged=st.lists(st.booleans()), max_runs=st.integers(1, 5))
def test_every_changed_slice_is_written(unchanged: list[bool], max_runs: int) -> None:
    """The runs are at most `max_runs`, and have no unchanged slice unless merged into one."""
    runs = runs_to_write(unchanged, max_runs)
    written = [index for run in runs for index in run]
    due = [index for index, same in enumerate(unchanged) if not same]
    assert len(runs) <= max_runs
    assert set(due) <= set(written)
    if len(runs) > 1:
        assert written == due
    assert not written or (written[0], written[-1]) == (due[0], due[-1])


def changes(old: list[CostItem], new: list[CostItem]) -> list[tuple[Any, ...]]:
    ((before, _),) = slices_of(1, 1, *old)
    ((after, _),) = slices_of(1, 1, *new)
    replaced = ReplaceableEntries([before]).replaced_by(after)
    found = [] if is_unchanged(after, replaced) else find_changes(after, replaced)
    return [(c.currency, str(c.old_total), str(c.new_total), str(c.difference)) for c in found]


def test_changes_are_reported_by_currency() -> None:
    """Currencies with another total are reported; all are if costs moved between groups only."""
    assert changes([item(1)], [item(1, "1.0")]) == []
    assert changes([item(1)], [item(1, "1.5")]) == [("USD", "1", "1.5", "0.5")]
    assert changes([item(1)], []) == [("USD", "1", "0", "-1")]
    assert changes([], [item(1)]) == [("USD", "0", "1", "1")]
    assert changes([item(1)], [item(1, service="ec2")]) == [("USD", "1", "1", "0")]
    euros = [item(1, "2", currency="EUR")]
    assert changes([item(1), *euros], [item(1, "3"), *euros]) == [("USD", "1", "3", "2")]
