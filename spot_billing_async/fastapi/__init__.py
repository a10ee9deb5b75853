"""Integration with FastAPI and Starlette apps (extra: fastapi).

    from fastapi import FastAPI
    from spot_billing_async.fastapi import (
        RequestDeadline, SpotBilling, add_error_handlers, spot_billing_lifespan
    )

    app = FastAPI(lifespan=spot_billing_lifespan())   # one client for the app
    add_error_handlers(app)                           # errors as problem+json
    app.add_middleware(RequestDeadline)               # X-Request-Timeout, in seconds

    @app.get("/accounts")
    async def accounts(client: SpotBilling) -> list[str | None]:
        return [account.account_id for account in await client.accounts.list()]

`stream_costs` streams a pull. Everything except the annotation `SpotBilling` also works in
Starlette without FastAPI; there, `client_of(request)` returns the client.
"""

from spot_billing_async.errors import MissingExtraError

# Imported first, so that a missing Starlette gives this error and not that of a submodule.
try:
    import starlette as _starlette  # noqa: F401  see above
except ImportError as _missing:
    raise MissingExtraError(
        "spot_billing_async.fastapi needs starlette: pip install '.[fastapi]'"
    ) from _missing

from spot_billing_async.fastapi.deadline import RequestDeadline
from spot_billing_async.fastapi.lifespan import SpotBilling, client_of, spot_billing_lifespan
from spot_billing_async.fastapi.problems import add_error_handlers, problem_response
from spot_billing_async.fastapi.stream import CostStream, StreamFormat, stream_costs

__all__ = [
    "CostStream",
    "RequestDeadline",
    "SpotBilling",
    "StreamFormat",
    "add_error_handlers",
    "client_of",
    "problem_response",
    "spot_billing_lifespan",
    "stream_costs",
]
