"""Lies: answers whose envelope is in order, and whose rows are not those that there are. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiohttp import web

from spot_billing_async.emulator.chaos.randomness import Fault
from spot_billing_async.emulator.responses import Page


class Lie(NamedTuple):
    """What is told in the place of the truth.

    Attributes:
        fault: the kind.
        place: where in the list, from 0 to below 1 of it, where the kind is at one place.
    """

    fault: Fault
    place: float


LIE = web.RequestKey("lie", Lie)
"""Where a request has the lie that its answer is to tell."""


def told(lie: Lie, page: Page, rows: Sequence[Any], start: int, size: int | None) -> Page:
    """The page as the lie has it; the true one, where that has no room for the lie.

    Args:
        lie: what is told.
        page: the truth.
        rows: those of all pages.
        start: where among them the page begins.
        size: rows a page; None where there are no pages.
    """
    match lie.fault:
        case Fault.DROPPED_PAGE if size is not None and start + size < len(rows):
            after = start + 2 * size
            return _noting(page, nextKey=str(after) if after < len(rows) else None)
        case Fault.REPEATED_PAGE if size is not None and start > 0:
            return page._replace(items=rows[start - size : start])
        case Fault.SHORT_COUNT if page.items:
            kept = page.items[: int(lie.place * len(page.items))]
            return page._replace(items=kept, said_count=len(page.items))
        case Fault.LOST_ROW if page.items:
            lost = int(lie.place * len(page.items))
            kept = [*page.items[:lost], *page.items[lost + 1 :]]
            return _noting(page._replace(items=kept), totalCount=len(rows) - 1)
        case _:
            return page


def _noting(page: Page, **said: int | str | None) -> Page:
    """The page with something else said of the others, as far as it says that at all."""
    info = page.pagination_info
    if info is None:
        return page
    return page._replace(
        pagination_info={name: said.get(name, value) for name, value in info.items()}
    )
