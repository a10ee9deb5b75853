"""Details of error responses."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from spot_billing_async import ApiError, RateLimitedError, ServerError
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.error_mapping import (
    error_code,
    header_request_id,
    read_error,
)
from spot_billing_async._core.protocol.operations import GET_COSTS

TOKEN = "not-a-real-token"


def error_of(
    body: bytes | dict[str, Any], status: int = 400, headers: Mapping[str, str] | None = None
) -> ApiError:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return read_error(GET_COSTS, status, CIMultiDict(headers or {}), raw, Secret(TOKEN))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (399, None),
        (400, 400),
        (999, 999),
        (1000, 999),
        ("399", None),
        ("400", 400),
        ("9" * 18, 999),
        ("9" * 19, 999),
        ("0" * 18, None),
        ("-500", None),
        ("4.0e2", None),
        ("", None),
        (500.0, None),
        (None, None),
        ({"code": 404}, 404),
        ({"code": {"code": "503"}}, 503),
        ({"message": 500}, None),
        ([{"code": 200}, {"code": 404}, {"code": 500}], 404),
        ([404, 500], 404),
        ([], None),
    ],
)
def test_the_error_code_of_a_status(status: object, code: int | None) -> None:
    """A code of 400 or more is found in every form, the first of a list; larger ones are 999."""
    assert error_code(status) == code


@pytest.mark.parametrize(
    ("http", "body", "status", "error_class"),
    [
        (200, 418, 418, ApiError),
        (200, 499, 499, ApiError),
        (200, 500, 500, ServerError),
        (200, 1_000_000, 999, ServerError),
        (399, 503, 503, ServerError),
        (400, 503, 400, ApiError),
        (499, 503, 499, ApiError),
        (302, None, 302, ApiError),
    ],
)
def test_the_code_in_the_body_counts_only_below_400(
    http: int, body: int | None, status: int, error_class: type[ApiError]
) -> None:
    """The code in the body replaces an HTTP status below 400, and no other."""
    error = error_of({"response": {"status": {"code": body}}}, http)
    assert error.status == status
    assert isinstance(error, error_class)
    assert isinstance(error, ServerError) is (status >= 500)


def test_the_message_is_the_most_specific_text() -> None:
    """The messages of the entries come first, then `data`, then the message of the status."""
    status, data = {"code": 400, "message": "status"}, "data"
    entries = [{"message": "one"}, {"message": ""}, {"message": 7}, {"message": "two"}]
    response: dict[str, Any] = {"status": status, "data": data, "errors": entries}
    assert error_of({"response": response}).message == "one; two"
    response["errors"] = [{"code": "c"}]
    assert error_of({"response": response}).message == "data"
    response["data"] = {"no": "text"}
    assert error_of({"response": response}).message == "status"
    assert error_of({"response": {"status": "400"}}).message == ""


@pytest.mark.parametrize(
    ("request_part", "header", "request_id"),
    [
        ({"id": "r1"}, "h1", "r1"),
        ({"id": 7}, "h1", "7"),
        ({"id": ""}, "h1", "h1"),
        ({"id": None}, "h1", "h1"),
        ("r1", "h1", "h1"),
        ({"id": "r1"}, None, "r1"),
        ({}, None, None),
    ],
)
def test_the_request_id_of_the_body_comes_before_that_of_a_header(
    request_part: object, header: str | None, request_id: str | None
) -> None:
    """The id of the envelope is used where it has one, else that of a header."""
    headers = {} if header is None else {"CF-Ray": header}
    assert error_of({"request": request_part}, 400, headers).request_id == request_id


def test_the_request_id_is_that_of_the_first_header_that_has_one() -> None:
    """Headers nearer to the API come before those of a content delivery network."""
    names = ["X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Amzn-RequestId"]
    names += ["X-Amz-Cf-Id", "CF-Ray"]
    headers = CIMultiDict({name: name for name in reversed(names)})
    for name in names:
        assert header_request_id(headers, Secret(TOKEN)) == name
        headers[name] = ""
    assert header_request_id(headers, Secret(TOKEN)) is None


@pytest.mark.parametrize("before", [0, 480, 484, 485, 490, 499, 500, 501, 520])
def test_an_excerpt_has_500_characters_and_no_part_of_the_token(before: int) -> None:
    """The excerpt ends after 500 characters, and a token across its end is removed whole."""
    text = "x" * before + " " + TOKEN + " " + "y" * 1000
    error = error_of(text.encode())
    assert error.body_excerpt == text.replace(TOKEN, "[token removed]")[:500]
    assert error_of(b"z" * 500).body_excerpt == "z" * 500


def test_a_wait_in_a_header_is_only_that_of_a_rate_limit() -> None:
    """The quota's reset is a wait for a refused request only; Retry-After is one for any."""
    reset = {"X-RateLimit-Reset": "7"}
    assert error_of(b"", 503, reset).retry_after_s is None
    assert error_of(b"", 503, {"Retry-After": "3"}).retry_after_s == 3
    limited = error_of({"response": {"errors": [{"code": "THROTTLING"}]}}, 503, reset)
    assert isinstance(limited, RateLimitedError)
    assert (limited.retry_after_s, limited.codes) == (7, ("THROTTLING",))
