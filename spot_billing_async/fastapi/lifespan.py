"""One client for each app, opened and closed with it, and its injection into endpoints."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any, TypeAlias

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from spot_billing_async._core.auth.secret import Hidden
from spot_billing_async.client import SpotBillingClient
from spot_billing_async.errors import ConfigError

_STATE_KEY = "spot_billing"

State = Mapping[str, Any]
Lifespan = Callable[[Any], AbstractAsyncContextManager[State | None]]


def spot_billing_lifespan(
    lifespan: Lifespan | None = None,
    /,
    **client_arguments: Any,  # noqa: ANN401  as SpotBillingClient takes them
) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """Return a lifespan that opens a client when the app starts, and closes it when the app ends.

        app = FastAPI(lifespan=spot_billing_lifespan(cache=CostCache()))

    The client is created when the app starts. An unusable argument or a missing token raises its
    `ConfigError` there, and the app does not start.

    Args:
        lifespan: the app's own lifespan, if any. It runs while the client is open, so it may use
            `client_of(app)`. The state that it yields is kept.
        **client_arguments: arguments of `SpotBillingClient`; without any, token and address come
            from the environment or the credentials file.

    Raises:
        ConfigError: `lifespan` is not callable.
    """
    # One of the arguments may be the token. A traceback that shows variables would show those of a
    # closure or a partial, and some tools evaluate the attributes that stand in its lines.
    arguments = Hidden(client_arguments)
    del client_arguments
    if lifespan is not None and not callable(lifespan):
        # The first argument of the client is the token, so this may be one: neither the message
        # nor a traceback that shows variables may hold it.
        del lifespan
        raise ConfigError(
            "lifespan must be a lifespan function or None; pass the client's arguments by keyword, "
            "such as token=..."
        )

    @asynccontextmanager
    async def with_client(app: Any) -> AsyncIterator[State]:  # noqa: ANN401  as Starlette types it
        async with SpotBillingClient(**arguments.reveal()) as client:
            setattr(app.state, _STATE_KEY, client)
            own = nullcontext() if lifespan is None else lifespan(app)
            try:
                async with own as state:
                    # Also in the lifespan's state: apps mounted in this one see that state, and
                    # not this app's.
                    yield {**(state or {}), _STATE_KEY: client}
            finally:
                delattr(app.state, _STATE_KEY)

    return with_client


def client_of(source: HTTPConnection | Starlette) -> SpotBillingClient:
    """Return the client of an app.

        async def accounts(request: Request) -> JSONResponse:
            return JSONResponse(len(await client_of(request).accounts.list()))

    Args:
        source: a request or WebSocket of the app, or the app itself.

    Raises:
        ConfigError: the app is not running, or has no `spot_billing_lifespan`.
    """
    client = getattr(source.state, _STATE_KEY, None)
    if not isinstance(client, SpotBillingClient):
        raise ConfigError(
            "the app has no open client; create it with lifespan=spot_billing_lifespan(), and use "
            "the client while the app runs"
        )
    return client


async def _client_dependency(connection: HTTPConnection) -> SpotBillingClient:
    # Async, because FastAPI runs plain functions in a thread.
    return client_of(connection)


try:
    from fastapi import Depends
except ImportError:  # Starlette without FastAPI, where nothing reads the annotation
    _dependency: object = None
else:
    _dependency = Depends(_client_dependency)

SpotBilling: TypeAlias = Annotated[SpotBillingClient, _dependency]
"""Annotation of a FastAPI parameter that receives the app's client: `client: SpotBilling`."""
