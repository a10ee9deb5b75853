"""Two hundred contests with the opponent, fifty runs of each other server, 10,000 scripts."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings

from tests.hostile.any_rows import ITEM_TYPES, SCRIPTS, Call, play
from tests.hostile.contest import contests
from tests.hostile.other_servers import SERVERS, run

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("reuse", [True, False], ids=["reuse", "no reuse"])
async def test_two_hundred_contests_are_won(reuse: bool) -> None:
    """No answer that can be told from the right one is accepted; no slice is lost."""
    result = await contests(range(200), reuse=reuse)
    print(  # noqa: T201  the figures that the guide states
        f"\n{result.accepted} answers accepted, of {result.requests} requests; "
        f"asked again: {dict(result.mismatches)}; faults: {dict(result.faults)}; "
        f"wrong and accepted, as nothing tells it: {dict(result.untold)}"
    )
    assert result.told == []
    assert result.strays == []
    assert result.lost == []
    assert result.sums == []


@pytest.mark.parametrize("name", SERVERS)
async def test_fifty_runs_of_each_other_server(name: str) -> None:
    """Other ids, months or URLs cost one further request for each tenant, and no error."""
    for seed in range(50):
        await run(name, seed)


@settings(max_examples=10_000)
@given(SCRIPTS, ITEM_TYPES)
def test_ten_thousand_scripts_follow_the_rule(script: list[Call], item_type: type[Any]) -> None:
    """No row that contradicts its query is accepted, whatever the answers are."""
    asyncio.run(play(script, item_type))
