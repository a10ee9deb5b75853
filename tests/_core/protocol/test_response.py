"""Building of requests, and parsing of responses with every known variation of the envelope."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from spot_billing_async import (
    ApiError,
    AuthenticationError,
    ConflictError,
    CostItem,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
)
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.operations import (
    DELETE_FAMILY,
    GET_COSTS,
    GET_FAMILY,
    SETUP,
    Operation,
)
from spot_billing_async._core.protocol.pagination import Page
from spot_billing_async._core.protocol.rate_limit import retry_after_s
from spot_billing_async._core.protocol.request import build_request
from spot_billing_async._core.protocol.response import Response, parse_response

SECRET = "not-a-real-token"
BASE = "https://api.example.com/base"


def read(
    body: bytes | dict[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    operation: Operation = GET_COSTS,
) -> Page[Any]:
    """Parse a response as a page of costs."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    response = Response(status, CIMultiDict(headers or {}), raw)
    return parse_response(operation, response, decoder_for(CostItem, totalled=True), Secret(SECRET))


def error_of(
    body: bytes | dict[str, Any], status: int, headers: Mapping[str, str] | None = None
) -> ApiError:
    """Return the error that a response is parsed to."""
    with pytest.raises(ApiError) as caught:
        read(body, status, headers)
    return caught.value


@given(st.text(min_size=1), st.text())
def test_no_id_can_change_the_request(family_id: str, account_id: str) -> None:
    """An id of any characters stays one segment of the path or one value of the query."""
    try:
        family_id.encode()
        account_id.encode()
    except UnicodeEncodeError:
        return  # lone surrogates are refused as ids: they are not printable
    request = build_request(
        GET_FAMILY, BASE, GET_FAMILY.path, path_ids={"familyId": family_id}, query={"a": account_id}
    )
    parts = urlsplit(request.url)
    assert request.url.isascii()
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.example.com", "")
    *head, last = parts.path.split("/")
    assert head == ["", "base", "billingEngine", "family"]
    assert unquote(last) == family_id
    assert parse_qsl(parts.query, keep_blank_values=True) == [("a", account_id)]


def test_parameters_that_are_none_are_left_out() -> None:
    """A query without values adds no question mark to the URL."""
    request = build_request(GET_COSTS, BASE, "/x", path_ids={}, query={"a": None})
    assert request.url == f"{BASE}/x"


def test_a_full_response() -> None:
    """A page has the items, exact totals, request id, status and the key of the next page."""
    page = read(
        {
            "request": {"id": "r1", "url": "/x", "method": "GET"},
            "response": {
                "status": {"code": 200, "message": "Success"},
                "kind": "spotinst:x",
                "items": [{"cost": 1, "currency": "USD"}],
                "count": 1,
                "paginationInfo": {"totalCount": 2, "nextKey": "k", "previousKey": None},
            },
        }
    )
    assert [str(item.cost) for item in page.items] == ["1"]
    assert {code: str(total) for code, total in page.totals.items()} == {"USD": "1"}
    assert (page.request_id, page.next_key, page.total_count) == ("r1", "k", 2)
    assert page.status is not None
    assert (page.status.code, page.status.message) == (200, "Success")


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_success_has_items(status: int) -> None:
    """Each status of success is read as the same page."""
    page = read({"response": {"items": [{"cost": 1, "currency": "USD"}], "count": 1}}, status)
    assert [item.cost for item in page.items] == [1]
    assert page.totals == {"USD": Decimal(1)}
    assert not page.is_blank


def test_a_page_and_a_response_show_no_content() -> None:
    """Neither a page's nor a response's repr shows a header, an item or a body."""
    page = read({"response": {"items": [{"cost": 1, "service": "s3"}] * 2}})
    assert repr(page) == "Page(2 items)"
    assert repr(Response(200, {"X": SECRET}, SECRET.encode())) == "Response(status=200)"


@pytest.mark.parametrize("key", ["null", '""'])
def test_a_last_page_has_no_next_key(key: str) -> None:
    """A next key that is null or empty ends the pages; 0 is a key like any other."""
    body = '{"response":{"items":[],"paginationInfo":{"nextKey":%s}}}'
    assert read((body % key).encode()).next_key is None
    assert read((body % "0").encode()).next_key == "0"


def test_a_next_key_with_the_token_is_refused() -> None:
    """A next key that holds the token is an error, as it would be sent in a URL."""
    with pytest.raises(DecodeError, match="holds the token") as caught:
        read({"response": {"items": [], "paginationInfo": {"nextKey": f"k {SECRET}"}}})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("encoding", ["identity", None])
def test_only_an_uncompressed_body_may_be_empty(encoding: str | None) -> None:
    """An empty body is a page if its end is marked and it was not compressed; a 204 always is."""
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    page = read(b"", 200, headers)
    assert (page.items, page.is_blank) == ([], True)
    with pytest.raises(DecodeError, match="empty, and may have been cut off"):
        read(b"", 202, {"Content-Encoding": "gzip"})
    assert read(b"", 204, {"Content-Encoding": "gzip"}).is_blank


@pytest.mark.parametrize("body", [b"", b"  \n"])
@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_body_means_no_items(body: bytes, status: int) -> None:
    """The contract allows a 200 without a body; the request id may be in a header."""
    page = read(body, status, {"x-request-id": "h1"})
    assert (page.items, page.request_id, page.next_key) == ([], "h1", None)


def test_an_empty_body_without_a_marked_end_is_an_error() -> None:
    """An empty body without a length may have been cut off before its first byte."""
    with pytest.raises(DecodeError, match="cut off"):
        parse_response(
            GET_COSTS,
            Response(200, {}, b"", end_is_marked=False),
            decoder_for(CostItem, totalled=True),
            Secret(SECRET),
        )
    with pytest.raises(DecodeError, match="cut off"):
        read(b"", 200, {"Content-Encoding": "gzip", "Content-Length": "10"})
    assert read(b"", 200, {"Connection": "close", "Content-Length": "0"}).items == []


@given(st.binary(max_size=30), st.integers(0, 70))
def test_a_body_with_odd_bytes_is_read_or_refused(odd: bytes, at: int) -> None:
    """Invalid bytes at any place are an error of this package, or do not change the items."""
    good = b'{"request":{"id":"r"},"response":{"status":{},"items":[{"cost":1}]}}'
    try:
        page = read(good[:at] + odd + good[at:])
    except (ApiError, DecodeError):
        return
    assert len(page.items) == 1


@pytest.mark.parametrize(
    "request_part", ['"example_value"', "null", "7", "[]", "{}", '{"id":null}']
)
def test_request_may_be_any_json(request_part: str) -> None:
    """The contract's own example has a bare string as request; the header's id is used then."""
    body = f'{{"request":{request_part},"response":{{"items":[]}}}}'.encode()
    assert read(body, headers={"X-Request-Id": "h1"}).request_id == "h1"


@pytest.mark.parametrize("errors", ["null", "[ ]", "{ }", "[\n]"])
def test_no_errors_may_be_spelled_in_many_ways(errors: str) -> None:
    """An empty list of errors, with any whitespace, is not an error."""
    assert read(f'{{"response": {{\n "items": [],\n "errors": {errors} }} }}'.encode()).items == []


def test_a_request_id_may_be_an_integer() -> None:
    """An integer request id becomes text."""
    assert read({"request": {"id": 5}, "response": {"items": []}}).request_id == "5"


@pytest.mark.parametrize("status", ['"ok"', "null", "[]", '{"code":"200"}', "{}"])
def test_a_strange_status_does_not_fail_a_good_answer(status: str) -> None:
    """HTTP status and items decide about success; an unknown status in the body does not."""
    assert read(f'{{"response":{{"status":{status},"items":[]}}}}'.encode()).items == []


@pytest.mark.parametrize(
    "tail", ['"items":null', '"items":[]', '"items":[],"count":0', '"count":0']
)
def test_ways_to_say_no_items(tail: str) -> None:
    """An empty list, null, and a count of zero all mean an empty list of items."""
    assert read(f'{{"response":{{{tail}}}}}'.encode()).items == []


@pytest.mark.parametrize(
    "body",
    [
        {"response": {"items": [{"cost": 1}], "count": 2}},
        {"response": {"items": [{"cost": 1}, {"cost": 1}], "count": 1}},
        {"response": {"items": [], "count": 1}},
        {"response": {"items": None, "count": 1}},
        {"response": {"count": 1}},
    ],
)
def test_a_count_that_differs_is_an_error(body: dict[str, Any]) -> None:
    """Fewer items than the server counted were lost; more were duplicated."""
    with pytest.raises(DecodeError, match=r"count|items"):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"response":null}',
        b'{"response":{}}',
        b"[]",
        b"null",
        b'"x"',
        b"<html>",
        b"{",
        b"\xff",
        b'{"response":{"items":[{"cost":1}',
        b'{"response":{"items":[]}} trailing',
        b'{"response":{"items":[{"\xffost":1}]}}',
        b"[" * 100_000,
    ],
)
def test_a_body_without_an_envelope_is_an_error(body: bytes) -> None:
    """A truncated body, garbage and other JSON are errors, never a page without items."""
    with pytest.raises(DecodeError, match="getCostAnalysis"):
        read(body)


def test_a_change_may_have_a_response_without_items() -> None:
    """A response to a delete or a setup needs no items."""
    for operation in (DELETE_FAMILY, SETUP):
        assert read({"response": {"status": {"code": 200}}}, operation=operation).items == []


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (418, ApiError),
        (422, InvalidRequestError),
        (429, RateLimitedError),
        (500, ServerError),
        (503, ServerError),
        (302, ApiError),
        (206, ApiError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b'"text"', b'{"response":[]}'])
def test_each_status_has_its_error_whatever_the_body(
    status: int, error_class: type[ApiError], body: bytes
) -> None:
    """The status decides the class; status, request id and the start of the body are kept."""
    error = error_of(body, status, {"X-Amzn-RequestId": "h1"})
    assert type(error) is error_class
    assert (error.status, error.request_id, error.operation_id) == (status, "h1", "getCostAnalysis")
    assert error.body_excerpt == body.decode()


def test_an_errors_entries_are_all_kept() -> None:
    """An error keeps all codes and all messages; `code` and `field` may be missing."""
    errors = [{"field": "query.accountId", "message": "required", "code": "ValidationError"}]
    body = {
        "request": {"id": "r1"},
        "response": {
            "status": {"message": "Bad Request", "code": 400},
            "errors": [*errors, {"message": "and more"}, {"code": 7}, "odd"],
        },
    }
    error = error_of(body, 400)
    assert error.codes == ("ValidationError", "7")
    assert error.message == "required; and more"
    assert error.request_id == "r1"


def test_a_429_has_no_errors_but_data() -> None:
    """A documented 429 has a string as `data`, and the reset in a header."""
    body = {
        "request": {"id": "r1"},
        "response": {
            "status": {"code": 429, "message": "Too Many Requests"},
            "data": "Rate limit exceeded",
        },
    }
    error = error_of(body, 429, {"X-RateLimit-Reset": "7"})
    assert isinstance(error, RateLimitedError)
    assert (error.message, error.retry_after_s, error.codes) == ("Rate limit exceeded", 7.0, ())


@pytest.mark.parametrize("code", ["Throttling", "RequestLimitExceeded", "throttling"])
@pytest.mark.parametrize("status", [200, 400, 503])
def test_some_body_codes_mean_rate_limiting(code: str, status: int) -> None:
    """Codes of rate limiting in the body precede the HTTP status."""
    error = error_of({"response": {"errors": [{"message": "m", "code": code}]}}, status)
    assert isinstance(error, RateLimitedError)


@pytest.mark.parametrize(
    "response",
    [
        {"items": [], "errors": [{"message": "m"}]},
        {"items": [], "status": {"code": 500, "message": "m"}},
        {"items": [], "status": {"code": "500", "message": "m"}},
        {"items": [], "status": 500, "data": "m"},
        {"items": [], "status": "500", "data": "m"},
        {"items": [], "status": [{"code": 200}, {"code": 500}], "data": "m"},
    ],
)
def test_a_200_with_an_error_in_its_body_is_an_error(response: dict[str, Any]) -> None:
    """Errors or a status in the body precede the HTTP status."""
    assert error_of({"response": response}, 200).message == "m"


def test_a_servers_error_precedes_a_missing_amount() -> None:
    """A 200 with an error in its body is that error, although a row has no amount."""
    response = {"items": [{"service": "s"}], "errors": [{"message": "m"}]}
    assert error_of({"response": response}, 200).message == "m"
    with pytest.raises(DecodeError, match=r"keys seen: accountId, service$") as caught:
        read({"response": {"items": [{"service": "s", "accountId": 7}]}})
    assert caught.value.permanent


@pytest.mark.parametrize(
    "echo", [SECRET, "".join(f"\\u{ord(c):04x}" for c in SECRET)], ids=["plain", "escaped"]
)
def test_the_token_is_removed_from_what_a_server_echoes(echo: str) -> None:
    """A response that echoes the request's headers does not put the token into an error."""
    entry = f'{{"message":"Bearer {echo}","code":"{echo}"}}'
    body = f'{{"request":{{"id":"{echo}"}},"response":{{"errors":[{entry}]}}}}'
    error = error_of(body.encode(), 400, {"X-Request-Id": SECRET})
    assert SECRET not in f"{error!r} {error} {vars(error)}"
    cut = error_of(b" " * 495 + SECRET.encode(), 400, {"X-Request-Id": SECRET})
    assert SECRET[:5] not in f"{cut!r} {vars(cut)}"


def test_a_short_token_is_removed_as_a_whole_word() -> None:
    """A token of one letter is removed where it is a word of its own, not within words."""
    response = Response(404, CIMultiDict(), b"Bearer t does not exist")
    with pytest.raises(NotFoundError) as caught:
        parse_response(GET_COSTS, response, decoder_for(CostItem, totalled=True), Secret("t"))
    assert caught.value.body_excerpt == "Bearer [token removed] does not exist"


@pytest.mark.parametrize(
    ("headers", "limited", "wait_s"),
    [
        ({"Retry-After": "2"}, False, 2.0),
        ({"Retry-After": "2", "X-RateLimit-Reset": "9"}, True, 2.0),
        ({"X-RateLimit-Reset": "9"}, True, 9.0),
        ({"X-RateLimit-Reset": "9"}, False, None),
        ({"Retry-After": "x", "X-RateLimit-Reset": "9"}, True, 9.0),
        ({"Retry-After": "-1"}, False, None),
        ({"Retry-After": "inf"}, False, None),
        ({"Retry-After": "nan"}, True, None),
        ({"X-RateLimit-Reset": ""}, True, None),
        ({}, True, None),
        (
            {
                "Date": "Mon, 01 Oct 2018 00:00:00 GMT",
                "Retry-After": "Mon, 01 Oct 2018 00:00:30 GMT",
            },
            False,
            30.0,
        ),
        (
            {
                "Date": "Mon, 01 Oct 2018 00:01:00 GMT",
                "Retry-After": "Mon, 01 Oct 2018 00:00:30 GMT",
            },
            False,
            0.0,
        ),
        ({"Retry-After": "Mon, 01 Oct 2018 00:00:30 GMT"}, False, None),
    ],
)
def test_how_long_the_server_asks_to_wait(
    headers: dict[str, str], limited: bool, wait_s: float | None
) -> None:
    """Retry-After in seconds or as a date precedes the reset header; invalid values are ignored."""
    assert retry_after_s(CIMultiDict(headers), limited=limited) == wait_s
