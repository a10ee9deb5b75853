"""One client for the app, from its start to its end, and how requests get at it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any, TypeAlias

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from spot_billing_async.client import SpotBillingClient
from spot_billing_async.errors import ConfigError

_KEY = "spot_billing"

State = Mapping[str, Any]
Lifespan = Callable[[Any], AbstractAsyncContextManager[State | None]]


class _Factory:
    """Makes the client of an app, and shows nothing of its arguments: the token is one."""

    __slots__ = ("_arguments",)

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments

    def __call__(self) -> SpotBillingClient:
        """A new client."""
        return SpotBillingClient(**self._arguments)


def spot_billing_lifespan(
    lifespan: Lifespan | None = None,
    /,
    **client_arguments: Any,  # noqa: ANN401  as SpotBillingClient has them
) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """A lifespan that opens a client when the app starts, and closes it when the app ends.

    Args:
        lifespan: the app's own; it runs inside, so it may use the client (`client_of(app)`), and
            the state that it yields is kept.
        **client_arguments: as for `SpotBillingClient`; by default all comes from the environment.

    The client is made when the app starts: what is wrong with its arguments, such as a token that
    is nowhere to be found, then keeps the app from starting, with a `ConfigError` that names it.

    Raises:
        ConfigError: the lifespan is none.
    """
    if lifespan is not None and not callable(lifespan):
        del lifespan  # it may be the token, which belongs to the keywords
        raise ConfigError(
            "lifespan: it is no function; allowed: a lifespan, and all that is the client's by "
            "keyword: token=…"
        )
    make = _Factory(client_arguments)

    @asynccontextmanager
    async def with_client(app: Any) -> AsyncIterator[State]:  # noqa: ANN401  Starlette has it so
        async with make() as client:
            setattr(app.state, _KEY, client)
            own = nullcontext() if lifespan is None else lifespan(app)
            try:
                async with own as state:
                    # In the state as well: apps that are mounted in this one have it in common.
                    yield {**(state or {}), _KEY: client}
            finally:
                delattr(app.state, _KEY)

    return with_client


def client_of(where: HTTPConnection | Starlette) -> SpotBillingClient:
    """The client of the app that a request or WebSocket came to, or that is given itself.

    Raises:
        ConfigError: the app has none, or does not run.
    """
    client = getattr(where.state, _KEY, None)
    if not isinstance(client, SpotBillingClient):
        raise ConfigError(
            "client: the app has none; allowed: an app that runs, made with "
            "lifespan=spot_billing_lifespan()"
        )
    return client


async def _client(connection: HTTPConnection) -> SpotBillingClient:
    """As `client_of`; async, as FastAPI has plain functions run in a thread."""
    return client_of(connection)


try:
    from fastapi import Depends
except ImportError:  # Starlette alone, where nothing reads it
    _given: object = None
else:
    _given = Depends(_client)

SpotBilling: TypeAlias = Annotated[SpotBillingClient, _given]
"""The type of a parameter that FastAPI gives the app's client: `client: SpotBilling`."""
