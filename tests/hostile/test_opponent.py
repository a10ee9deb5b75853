"""Random contests with a server whose right answers come twice, late, or to the wrong request."""

import pytest

from tests.hostile.contest import contests


@pytest.mark.parametrize("reuse", [True, False], ids=["reuse", "no reuse"])
async def test_no_answer_to_another_query_is_accepted(reuse: bool) -> None:
    """Each answer that can be told from the right one is asked again, and no slice is lost."""
    result = await contests(range(6), reuse=reuse)
    assert result.told == []
    assert result.strays == []
    assert result.lost == []
    assert result.sums == []
