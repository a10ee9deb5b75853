"""Answers: the vendor's envelope around items or errors, and the ways in which a call is refused.

The envelope and the error entry follow the vendor's documentation. That refusals carry the matching
HTTP status, and the codes of entries other than `ValidationError`, are assumptions.
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

_ECHOED = ("accountId", "fromDate", "toDate", "groupBy", "paginationKey")
"""Query parameters that an answer repeats: those of the API, so that no secret comes back."""


class Entry(NamedTuple):
    """One entry of `errors`: the field at fault, a text, a code. Only the text is always there."""

    field: str | None
    message: str
    code: str | None = "ValidationError"

    def as_json(self) -> dict[str, str]:
        """The entry without what it lacks."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Refused(Exception):  # noqa: N818 - an answer like any other, not a failure of the server
    """A call that is answered with errors.

    Attributes:
        status: the HTTP status.
        entries: what is wrong, at least one.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        entries: Iterable[Entry],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.entries = tuple(entries)
        self.headers = headers


def invalid(*entries: Entry) -> Refused:
    """400: the parameters or the body break a rule."""
    return Refused(HTTPStatus.BAD_REQUEST, entries)


def unknown(field: str, what: str) -> Refused:
    """404: nothing has that id."""
    return Refused(HTTPStatus.NOT_FOUND, [Entry(field, f"{what} does not exist", "NotFound")])


def conflict(field: str, message: str) -> Refused:
    """409: it contradicts what is there."""
    return Refused(HTTPStatus.CONFLICT, [Entry(field, message, "Conflict")])


class Page(NamedTuple):
    """The items of one answer; and where the server has pages, what it says of the others.

    `said_count` is what the answer says that it holds; None for as many as it does.
    """

    items: Sequence[Any]
    pagination_info: Mapping[str, int | str | None] | None = None
    said_count: int | None = None


def page_body(request: web.BaseRequest, kind: str, page: Page) -> bytes:
    """The body of a 200."""
    count = len(page.items) if page.said_count is None else page.said_count
    response = {"kind": f"spotinst:{kind}", "items": page.items, "count": count}
    if page.pagination_info is not None:
        response["paginationInfo"] = page.pagination_info
    return _envelope(request, HTTPStatus.OK, "Success", response)


def refusal(request: web.BaseRequest, refused: Refused) -> web.Response:
    """The answer that carries the errors of a refused call."""
    return error_answer(
        request,
        refused.status,
        {"errors": [entry.as_json() for entry in refused.entries]},
        refused.headers,
    )


def error_answer(
    request: web.BaseRequest,
    status: HTTPStatus,
    details: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An answer of another status than 200; `details` stand beside the status in `response`."""
    return json_answer(_envelope(request, status, status.phrase, details), status, headers)


def json_answer(
    body: bytes, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer of JSON text."""
    return web.Response(
        body=body, status=status, content_type="application/json", charset="utf-8", headers=headers
    )


def _envelope(
    request: web.BaseRequest, status: HTTPStatus, message: str, response: Mapping[str, Any]
) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _ENCODER.encode(
        {
            "request": {
                "id": str(uuid4()),
                "url": _echo(request),
                "method": request.method,
                "timestamp": now,
            },
            "response": {"status": {"code": status, "message": message}, **response},
        }
    )


def _echo(request: web.BaseRequest) -> str:
    """Path and query of the request, as far as they are the API's own, percent-encoded."""
    query = {name: request.query[name] for name in _ECHOED if name in request.query}
    path = request.rel_url.raw_path
    # A client may send bytes that are no UTF-8; they come as lone surrogates.
    return (
        (f"{path}?{urlencode(query, errors='replace')}" if query else path)
        .encode(errors="replace")
        .decode()
    )
