"""Paginator put together: every one of them, each once."""

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from spot_billing_async import DecodeError
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async._core.protocol.pagination import Page, Paginator


def page(items: list[int], key: str | None, total: int | None = None) -> Page[int]:
    body = msgspec.json.encode({"request": {"id": key}, "response": {"items": items}})
    return Page(items, {}, "r", None, key, total, body)


def test_pages_become_one_answer() -> None:
    """Items keep the server's order over all pages."""
    pages: Paginator[int] = Paginator(GET_COSTS)
    assert pages.add(page([1, 2], "a")) is None
    assert pages.add(page([], "b")) is None
    answer = pages.add(page([3], None, total=3))
    assert answer is not None
    assert answer.items == [1, 2, 3]


def test_a_key_that_repeats_is_an_error() -> None:
    """Following it would read the same rows for ever."""
    pages: Paginator[int] = Paginator(GET_COSTS)
    assert pages.add(page([1], "a")) is None
    with pytest.raises(DecodeError, match="used before"):
        pages.add(page([2], "a"))


def test_a_page_that_comes_twice_is_an_error() -> None:
    """It stands in the place of another, though keys and counts are in order."""
    for before in ([page([1, 2], "a", 6)], [page([1, 2], "a"), page([3, 4], "b")]):
        pages: Paginator[int] = Paginator(GET_COSTS)
        for each in before:
            pages.add(each)
        with pytest.raises(DecodeError, match=f"page {len(before) + 1} repeats the items"):
            pages.add(page([1, 2], None, 6))


def test_items_that_only_look_alike_are_no_page_that_comes_twice() -> None:
    """They are compared as they came: what a caller's type leaves out may tell them apart."""
    pages: Paginator[int] = Paginator(GET_COSTS)
    pages.add(replace(page([0, 0], "a"), body=b'{"response":{"items":[{"id":1},{"id":2}]}}'))
    last = replace(page([0, 0], None), body=b'{"response":{"items":[{"id":3},{"id":4}]}}')
    answer = pages.add(last)
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
def test_a_page_that_got_lost_is_an_error(last: Page[int]) -> None:
    """What the first page said of the whole holds, whatever the last one says, or does not say."""
    pages: Paginator[int] = Paginator(GET_COSTS)
    assert pages.add(page([1], "a", total=5)) is None
    with pytest.raises(DecodeError, match="page 2"):
        pages.add(last)


def test_more_items_than_counted_end_the_reading() -> None:
    """Paginator that go on past the server's own count are not followed."""
    pages: Paginator[int] = Paginator(GET_COSTS)
    with pytest.raises(DecodeError, match="page 1 ends at item 2, but totalCount says 1"):
        pages.add(page([1, 2], "a", total=1))


def test_pages_whose_amounts_do_not_add_up_are_an_error() -> None:
    """A sum over pages that would need rounding is refused."""
    pages: Paginator[int] = Paginator(GET_COSTS)
    far = {"USD": Decimal("1e150")}
    assert pages.add(replace(page([1], "a"), totals=far)) is None
    with pytest.raises(DecodeError, match="without rounding"):
        pages.add(replace(page([2], None), totals={"USD": Decimal("1e-150")}))


def test_a_total_count_that_differs_is_an_error() -> None:
    """A page that got lost shows in the server's own count."""
    with pytest.raises(DecodeError, match="page 1 ends at item 1, but totalCount says 3"):
        Paginator[int](GET_COSTS).add(page([1], None, total=3))
