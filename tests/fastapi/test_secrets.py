"""The token is in no response and no log record of an app."""

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spot_billing_async import CostQuery
from spot_billing_async.fastapi import add_error_handlers, stream_costs
from tests.hostile.everything import capturing
from tests.hostile.test_secrets import RESPONSES, TOKEN, client_of, serving
from tests.support import fetched, serve_app

# The rows of a plain 200 hold the token here: they are data of the caller, passed on unchanged.
ERRORS = [name for name in RESPONSES if name != "200"]


@pytest.mark.parametrize("name", ERRORS)
async def test_no_response_of_the_api_leaks_the_token(name: str) -> None:
    """A token that the API echoes is in no problem, no stream and no log record of the app."""
    with capturing() as kept:
        async with serving(RESPONSES[name]) as (base_url, _), client_of(base_url, kept) as client:

            async def costs(_: Request) -> Response:
                return JSONResponse(len(await client.costs.get("a")))

            async def stream(_: Request) -> Response:
                return stream_costs(client.costs.pull([CostQuery(account_id="a")]))

            app = Starlette(routes=[Route("/costs", costs), Route("/stream", stream)])
            add_error_handlers(app)
            async with serve_app(app) as url:
                response = await fetched(f"{url}/costs")
                streamed = await fetched(f"{url}/stream")
    kept.keep(response, streamed)
    kept.assert_without(TOKEN)
    report = msgspec.json.decode(streamed.body.splitlines()[-1])
    is_good = name == "200 that is blank"
    assert (response.status == 200, report["complete"]) == (is_good, is_good)
