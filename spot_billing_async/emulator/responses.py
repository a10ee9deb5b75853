"""Responses in the vendor's JSON envelope, and the exception for a request that is refused.

The envelope and the error detail follow the vendor's documentation. The HTTP status of a refusal
and all error codes except `ValidationError` are assumptions.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from aiohttp import web

_ENCODER = msgspec.json.Encoder(decimal_format="number")

_ECHOED_PARAMETERS = ("accountId", "fromDate", "toDate", "groupBy", "paginationKey")
"""Query parameters that a response repeats: only the API's own, so that no secret is echoed."""


class ErrorDetail(NamedTuple):
    """Element of `errors`: the invalid field, a message and a code; only `message` is required."""

    field: str | None
    message: str
    code: str | None = "ValidationError"


class ApiProblem(Exception):  # noqa: N818  a response like any other, not a failure of the server
    """A request that is refused with an error response.

    Attributes:
        status: the HTTP status.
        details: the errors, at least one.
        headers: additional headers of the response.
    """

    def __init__(
        self,
        status: HTTPStatus,
        details: Iterable[ErrorDetail],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.details: tuple[ErrorDetail, ...] = tuple(details)
        self.headers = headers


def invalid_request(*details: ErrorDetail) -> ApiProblem:
    """Return a 400 for invalid parameters or an invalid body."""
    return ApiProblem(HTTPStatus.BAD_REQUEST, details)


def not_found(field: str, resource: str) -> ApiProblem:
    """Return a 404 for an id in `field` that no `resource` has."""
    detail = ErrorDetail(field, f"{resource} does not exist", "NotFound")
    return ApiProblem(HTTPStatus.NOT_FOUND, [detail])


def conflict(field: str, message: str) -> ApiProblem:
    """Return a 409 for a request that contradicts the stored state."""
    return ApiProblem(HTTPStatus.CONFLICT, [ErrorDetail(field, message, "Conflict")])


class ItemPage(NamedTuple):
    """Items of one response, with pagination data where the server splits lists into pages.

    `reported_count` overrides the `count` of the response; None reports the number of items.
    """

    items: Sequence[Any]
    pagination_info: Mapping[str, int | str | None] | None = None
    reported_count: int | None = None


def encode_page(request: web.BaseRequest, kind: str, page: ItemPage) -> bytes:
    """Encode the body of a 200 response."""
    count = len(page.items) if page.reported_count is None else page.reported_count
    response = {"kind": f"spotinst:{kind}", "items": page.items, "count": count}
    if page.pagination_info is not None:
        response["paginationInfo"] = page.pagination_info
    return _encode_envelope(request, HTTPStatus.OK, "Success", response)


def problem_response(request: web.BaseRequest, problem: ApiProblem) -> web.Response:
    """Return the error response of a refused request."""
    errors = [
        {name: value for name, value in detail._asdict().items() if value is not None}
        for detail in problem.details
    ]
    return error_response(request, problem.status, {"errors": errors}, problem.headers)


def internal_error(request: web.BaseRequest) -> web.Response:
    """Return the 500 response of an unexpected failure."""
    detail = ErrorDetail(None, "An unknown error occurred", None)
    return problem_response(request, ApiProblem(HTTPStatus.INTERNAL_SERVER_ERROR, [detail]))


def error_response(
    request: web.BaseRequest,
    status: HTTPStatus,
    content: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a response with an error status and `content` next to it in the envelope."""
    body = _encode_envelope(request, status, status.phrase, content)
    return json_response(body, status, headers)


def json_response(
    body: bytes, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a response with a JSON body that is already encoded."""
    return web.Response(
        body=body, status=status, content_type="application/json", charset="utf-8", headers=headers
    )


def _encode_envelope(
    request: web.BaseRequest, status: HTTPStatus, message: str, response: Mapping[str, Any]
) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _ENCODER.encode(
        {
            "request": {
                "id": str(uuid4()),
                "url": _echoed_url(request),
                "method": request.method,
                "timestamp": now,
            },
            "response": {"status": {"code": status, "message": message}, **response},
        }
    )


def _echoed_url(request: web.BaseRequest) -> str:
    """Return the path and the API's own query parameters, percent-encoded."""
    query = {name: request.query[name] for name in _ECHOED_PARAMETERS if name in request.query}
    path = request.rel_url.raw_path
    url = f"{path}?{urlencode(query, errors='replace')}" if query else path
    # Bytes that are not valid UTF-8 arrive as lone surrogates, which JSON cannot encode.
    return url.encode(errors="replace").decode()
