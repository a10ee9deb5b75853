"""A client behind a real nginx and a real HAProxy; `tests/soak` runs the same for a minute."""

import pytest

from tests.soak.front_servers import outcomes_behind


@pytest.mark.parametrize("program", ["nginx", "haproxy"])
async def test_reloads_and_reaped_connections_fail_no_get(program: str) -> None:
    """No GET fails behind a server that reloads and closes connections idle for 1 s."""
    outcomes = await outcomes_behind(program, 5.0, callers=8)
    assert outcomes.keys() == {"ok"}
