"""Joining of pages: missing and repeated pages are errors."""

from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

from spot_billing_async import DecodeError
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async._core.protocol.pagination import Page, Paginator


def page(items: list[int], key: str | None, total: int | None = None) -> Page[int]:
    """Return a page of plain items."""
    body = msgspec.json.encode({"request": {"id": key}, "response": {"items": items}})
    return Page(items, {}, "r", None, key, total, body)


def test_pages_become_one_answer() -> None:
    """Items of all pages keep the server's order."""
    paginator: Paginator[int] = Paginator(GET_COSTS)
    assert paginator.add(page([1, 2], "a")) is None
    assert paginator.add(page([], "b")) is None
    answer = paginator.add(page([3], None, total=3))
    assert answer is not None
    assert answer.items == [1, 2, 3]


def test_a_key_that_repeats_is_an_error() -> None:
    """A next key that was used before would read the same rows for ever."""
    paginator: Paginator[int] = Paginator(GET_COSTS)
    assert paginator.add(page([1], "a")) is None
    with pytest.raises(DecodeError, match="used before"):
        paginator.add(page([2], "a"))


def test_a_repeated_page_is_an_error() -> None:
    """A repeated page replaces another one, although keys and counts are consistent."""
    for before in ([page([1, 2], "a", 6)], [page([1, 2], "a"), page([3, 4], "b")]):
        paginator: Paginator[int] = Paginator(GET_COSTS)
        for each in before:
            paginator.add(each)
        with pytest.raises(DecodeError, match=f"page {len(before) + 1} repeats the items"):
            paginator.add(page([1, 2], None, 6))


def test_items_that_decode_alike_are_not_a_repeated_page() -> None:
    """Pages are compared as bytes, as a caller's type may leave out the fields that differ."""
    paginator: Paginator[int] = Paginator(GET_COSTS)
    paginator.add(replace(page([0, 0], "a"), body=b'{"response":{"items":[{"id":1},{"id":2}]}}'))
    last = replace(page([0, 0], None), body=b'{"response":{"items":[{"id":3},{"id":4}]}}')
    answer = paginator.add(last)
    assert answer is not None
    assert answer.items == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "last",
    [
        page([2], None),
        page([2], None, total=2),
        page([], None, total=5),
        page([2, 3, 4, 5, 6], None),
        replace(page([], None), is_blank=True),
    ],
    ids=["lost", "shrunk", "short", "long", "blank"],
)
def test_a_missing_page_is_an_error(last: Page[int]) -> None:
    """The first page's total count holds for all pages, also if the last states another or none."""
    paginator: Paginator[int] = Paginator(GET_COSTS)
    assert paginator.add(page([1], "a", total=5)) is None
    with pytest.raises(DecodeError, match="page 2"):
        paginator.add(last)


def test_more_items_than_counted_are_an_error() -> None:
    """Pages beyond the server's own count are not followed."""
    paginator: Paginator[int] = Paginator(GET_COSTS)
    with pytest.raises(DecodeError, match="page 1 ends at item 2, but totalCount says 1"):
        paginator.add(page([1, 2], "a", total=1))


def test_pages_whose_amounts_do_not_add_up_are_an_error() -> None:
    """A sum over pages that needs rounding is an error."""
    paginator: Paginator[int] = Paginator(GET_COSTS)
    far = {"USD": Decimal("1e150")}
    assert paginator.add(replace(page([1], "a"), totals=far)) is None
    with pytest.raises(DecodeError, match="without rounding"):
        paginator.add(replace(page([2], None), totals={"USD": Decimal("1e-150")}))


def test_a_total_count_that_differs_is_an_error() -> None:
    """A number of items below the server's own count is an error."""
    with pytest.raises(DecodeError, match="page 1 ends at item 1, but totalCount says 3"):
        Paginator[int](GET_COSTS).add(page([1], None, total=3))
