"""At home in a FastAPI or Starlette app (extra: fastapi).

    app = FastAPI(lifespan=spot_billing_lifespan())
    add_error_handlers(app)
    app.add_middleware(RequestDeadline)

    @app.get("/accounts")
    async def accounts(client: SpotBilling) -> list[str | None]:
        return [account.account_id for account in await client.accounts.list()]

All but `SpotBilling` works in Starlette without FastAPI; `client_of(request)` stands for it there.
"""

from spot_billing_async.errors import MissingExtraError

try:
    import starlette as _starlette  # noqa: F401  asked for here, before any module uses it
except ImportError as error:
    raise MissingExtraError(
        "spot_billing_async.fastapi needs an extra: pip install 'spot-billing-async[fastapi]'"
    ) from error

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
