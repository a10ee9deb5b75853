"""Wrong answers: responses that are valid in form but contain wrong rows. Without I/O."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiohttp import web

from spot_billing_async.emulator.chaos.randomness import Fault
from spot_billing_async.emulator.responses import ItemPage


class WrongAnswer(NamedTuple):
    """Wrong answer to give instead of the correct page.

    Attributes:
        fault: the kind of wrong answer.
        position: where in the list a single row or cut is chosen, as a fraction from 0 to below 1.
    """

    fault: Fault
    position: float


WRONG_ANSWER = web.RequestKey("wrong_answer", WrongAnswer)
"""Request key of the wrong answer that the response must contain."""


def apply_wrong_answer(
    wrong: WrongAnswer, page: ItemPage, rows: Sequence[Any], start: int, size: int | None
) -> ItemPage:
    """Return the page with wrong rows, or unchanged where the fault does not apply to it.

    Args:
        wrong: the wrong answer to apply.
        page: the correct page.
        rows: the rows of all pages.
        start: the index in `rows` at which the page begins.
        size: the number of rows per page; None if the list is not split into pages.
    """
    match wrong.fault:
        case Fault.DROPPED_PAGE if size is not None and start + size < len(rows):
            after = start + 2 * size
            return _with_pagination(page, nextKey=str(after) if after < len(rows) else None)
        case Fault.REPEATED_PAGE if size is not None and start > 0:
            return page._replace(items=rows[start - size : start])
        case Fault.SHORT_COUNT if page.items:
            kept = page.items[: int(wrong.position * len(page.items))]
            return page._replace(items=kept, reported_count=len(page.items))
        case Fault.LOST_ROW if page.items:
            # The counts agree with the remaining rows: one response alone does not show the loss.
            lost = int(wrong.position * len(page.items))
            kept = [*page.items[:lost], *page.items[lost + 1 :]]
            return _with_pagination(page._replace(items=kept), totalCount=len(rows) - 1)
        case _:
            return page


def _with_pagination(page: ItemPage, **changes: int | str | None) -> ItemPage:
    """Return the page with values of its pagination data replaced; absent names stay absent."""
    info = page.pagination_info
    if info is None:
        return page
    return page._replace(
        pagination_info={name: changes.get(name, value) for name, value in info.items()}
    )
