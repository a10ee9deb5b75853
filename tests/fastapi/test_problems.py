"""Errors as problem+json: the right status, and no internals of the backend."""

import logging
import pickle
from typing import Any

import aiohttp
import msgspec
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from spot_billing_async import (
    ApiError,
    ArgumentError,
    AuthenticationError,
    ConfigError,
    ConflictError,
    DeadlineExceededError,
    DecodeError,
    InvalidRequestError,
    MissingExtraError,
    NotFoundError,
    OutageError,
    PermissionDeniedError,
    RateLimitedError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingClient,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.errors import printable
from spot_billing_async.fastapi import SpotBilling, add_error_handlers, spot_billing_lifespan
from spot_billing_async.fastapi.problems import problem_of, problem_response, status_of
from spot_billing_async.testing import ClientArguments
from tests.fastapi.conftest import TOKEN
from tests.support import http, serve_app, serve_raw

STATUSES: list[tuple[SpotBillingError, int]] = [
    (ArgumentError("account_id must be a non-empty string, got ''"), 422),
    (ConfigError("client: it is not open"), 500),
    (ConfigError("session: aiohttp refuses the request: ValueError"), 500),
    (MissingExtraError("needs an extra"), 500),
    (InvalidRequestError(400), 400),
    (InvalidRequestError(422), 422),
    (AuthenticationError(401), 502),
    (PermissionDeniedError(403), 403),
    (NotFoundError(404), 404),
    (ConflictError(409), 409),
    (RateLimitedError(429), 429),
    (DeadlineExceededError("the rate limit opens again in 5 s, after the deadline", 5.0), 429),
    (RateLimitedError(400, ["Throttling"]), 429),
    (ServerError(500), 502),
    (ServerError(503), 503),
    (ApiError(418), 502),
    (TransportError("connecting to internal.example:3128 failed"), 502),
    (DecodeError("no JSON"), 502),
    (ResponseTooLargeError("too much"), 502),
    (RequestLimitReachedError("10 requests were sent"), 503),
    (OutageError("the API has been unavailable for 600 s"), 503),
    (DeadlineExceededError("did not end within 5 s"), 504),
    (SpotBillingError("anything"), 500),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=lambda each: repr(each)[:60])
def test_each_error_has_a_status(error: SpotBillingError, status: int) -> None:
    """4xx stands for what the caller can change, 5xx for faults between app and API."""
    problem = problem_of(error)
    assert (status_of(error), problem["status"]) == (status, status)
    assert problem["title"] == status_of(error).phrase
    assert problem["error"] == type(error).__name__
    assert (problem["detail"] == str(error)) == (status < 500)


KINDS = (
    *(AuthenticationError, ConflictError, InvalidRequestError, NotFoundError),
    *(PermissionDeniedError, RateLimitedError, ServerError, ApiError),
)


@given(
    kind=st.sampled_from(KINDS),
    status=st.integers(200, 599),
    texts=st.lists(st.text(), min_size=4, max_size=4),
    after_s=st.none() | st.floats(0, 1e6),
)
def test_any_api_error_is_a_problem_without_its_body(
    kind: type[ApiError], status: int, texts: list[str], after_s: float | None
) -> None:
    """A problem has the members of RFC 9457; Retry-After is whole seconds, rounded up."""
    code, message, request_id, operation_id = texts
    excerpt = "a body's first bytes"
    error = kind(status, [code], message, request_id, operation_id, after_s, excerpt)
    response = problem_response(error)
    problem = msgspec.json.decode(bytes(response.body))
    assert response.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert problem["status"] == response.status_code >= 400
    assert problem["codes"] == [printable(*error.codes)]
    assert problem["request_id"] == printable(str(error.request_id))
    assert excerpt not in bytes(response.body).decode()
    if after_s is not None and response.status_code in {429, 503}:
        assert 0 <= int(response.headers["Retry-After"]) - after_s <= 1
    else:
        assert "Retry-After" not in response.headers


async def fetch_problem(url: str) -> tuple[int, str, dict[str, Any], str | None]:
    """Return status, content type, problem and Retry-After of a response."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        problem = msgspec.json.decode(await response.read())
        return response.status, response.content_type, problem, response.headers.get("Retry-After")


async def test_an_endpoint_responds_with_a_problem(arguments: ClientArguments) -> None:
    """Errors of the API and invalid arguments become problems."""
    app = FastAPI(lifespan=spot_billing_lifespan(**arguments))
    add_error_handlers(app)

    @app.get("/families/{family_id}")
    async def family(family_id: str, client: SpotBilling) -> str:
        return str(await client.families.get(family_id))

    async with serve_app(app) as url:
        status, kind, problem, _ = await fetch_problem(f"{url}/families/fam-none")
        assert (status, kind) == (404, "application/problem+json")
        assert problem["error"] == "NotFoundError"
        assert problem["request_id"] in problem["detail"]
        status, _, problem, _ = await fetch_problem(f"{url}/families/%20")
        assert (status, problem["error"]) == (422, "ArgumentError")


async def test_a_used_up_quota_has_retry_after(caplog: Any) -> None:
    """429 and 503 have Retry-After; the 503 is logged, without the token."""
    error = b'{"response":{"errors":[{"code":"x","message":"m"}]}}'
    refusals = (
        http(error, "Retry-After: 600", "Connection: close", status="429 x"),
        http(error, "Retry-After: 600", f"X-Request-Id: {TOKEN}", status="503 x"),
    )

    async def accounts(request: Request) -> Response:
        async with SpotBillingClient(TOKEN, base_url=request.query_params["at"]) as client:
            return Response(str(await client.accounts.list()))

    app = Starlette(routes=[Route("/", accounts)])
    add_error_handlers(app)
    async with serve_app(app) as url:
        for refusal, expected in zip(refusals, (429, 503), strict=True):
            async with serve_raw(refusal) as (base_url, _):
                status, _, problem, after = await fetch_problem(f"{url}/?at={base_url}")
            assert (status, after) == (expected, "600")
            assert TOKEN not in str(problem)
    logged = [record for record in caplog.records if record.name == "spot_billing_async.fastapi"]
    assert [record.levelno for record in logged] == [logging.WARNING]
    assert "ServerError" in logged[0].getMessage()
    assert TOKEN not in caplog.text


async def test_a_websocket_is_closed_with_an_internal_error() -> None:
    """An error closes a WebSocket with code 1011, as it has no response for a problem."""

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        raise pickle.loads(pickle.dumps(TransportError("internal.example is gone")))

    app = Starlette(routes=[WebSocketRoute("/", live)])
    add_error_handlers(app)
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent[-1] == {"type": "websocket.close", "code": 1011, "reason": "Bad Gateway"}


@pytest.mark.parametrize("has_left", [True, False])
async def test_an_error_after_the_end_of_a_websocket_is_ignored(has_left: bool) -> None:
    """Nothing is raised if the app closed the WebSocket, or if its caller has left."""

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        if not has_left:
            await socket.close()
        raise TransportError("internal.example is gone")

    app = Starlette(routes=[WebSocketRoute("/", live)])
    add_error_handlers(app)
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if has_left and message["type"] == "websocket.close":
            raise OSError("a caller who has left")
        sent.append(message["type"])

    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == ["websocket.accept", "websocket.close"][: 1 if has_left else 2]
