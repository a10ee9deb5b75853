"""A client behind a real nginx and a real HAProxy, for a minute each."""

import pytest

from tests.soak.front_servers import outcomes_behind

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("own_session", [False, True])
@pytest.mark.parametrize("program", ["nginx", "haproxy"])
async def test_reloads_and_reaped_connections_fail_no_get(program: str, own_session: bool) -> None:
    """No GET fails behind a server that reloads every 2 s and closes connections idle for 1 s."""
    outcomes = await outcomes_behind(program, 60.0, callers=16, own_session=own_session)
    print(program, own_session, outcomes)  # noqa: T201  for the record of the run
    assert outcomes.keys() == {"ok"}
