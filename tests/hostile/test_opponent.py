"""Servers that misdeliver right answers, answer in a form of their own, or with anything at all."""

import asyncio
from typing import Any

import pytest
from hypothesis import given

from tests.hostile.any_rows import ITEM_TYPES, SCRIPTS, Call, play
from tests.hostile.contest import contests
from tests.hostile.other_servers import SERVERS, run


@pytest.mark.parametrize(
    ("seeds", "reuse"),
    [
        ([0, 1, 3], True),
        ([0, 2, 3], False),
        ([106], True),
    ],
    ids=["reuse", "no reuse", "pages"],
)
async def test_no_answer_to_another_query_is_accepted(seeds: list[int], reuse: bool) -> None:
    """Each answer that can be told from the right one is asked again, and no slice is lost."""
    result = await contests(seeds, reuse=reuse)
    assert result.told == []
    assert result.strays == []
    assert result.lost == []
    assert result.sums == []


@pytest.mark.parametrize("name", SERVERS)
async def test_a_server_with_a_form_of_its_own_costs_one_request_for_each_tenant(name: str) -> None:
    """Of 32 first requests at once, one is sent again; after it there are no errors."""
    for seed in range(2):
        await run(name, seed)


@given(SCRIPTS, ITEM_TYPES)
def test_no_row_that_contradicts_its_query_is_accepted(
    script: list[Call], item_type: type[Any]
) -> None:
    """Any answers lead to rows by the rule of `any_rows`, or to a `DecodeError`."""
    asyncio.run(play(script, item_type))
