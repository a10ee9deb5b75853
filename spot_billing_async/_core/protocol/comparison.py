"""Comparison of an answer with its query: echoed URL, accounts and days of rows. Pure.

A server or a proxy may return the answer to another query. Where the answer says what it belongs
to, it is compared. Nobody has seen the real API's rows: their ids may be the cloud provider's, and
their dates the month's (FACTS.md). So a difference is no error yet; see `http.confirmation`.
"""

from typing import Literal, TypeVar, get_args
from urllib.parse import parse_qs

from spot_billing_async._core.protocol.decoder import ItemDecoder
from spot_billing_async._core.protocol.pagination import Differences, Page
from spot_billing_async._core.protocol.request import Request
from spot_billing_async.telemetry import MismatchKind

T = TypeVar("T")

RowDates = Literal["day", "month", "any"]
RowAccounts = Literal["asked", "any"]
ROW_DATES: tuple[RowDates, ...] = get_args(RowDates)
ROW_ACCOUNTS: tuple[RowAccounts, ...] = get_args(RowAccounts)

_COMPARED_CHARACTERS = {"day": len("2025-01-31"), "month": len("2025-01")}
_LONGEST_URL = 64 * 1024  # characters; parsing a longer one would block the event loop
_AGREES: frozenset[str] = frozenset()
_URL_AGREES: Differences = {"url": _AGREES}


def compare(
    request: Request,
    page: Page[T],
    decoder: ItemDecoder[T],
    *,
    check_echo: bool,
    row_dates: RowDates,
    row_accounts: RowAccounts,
) -> Differences:
    """Compare an answer with its request. Rows are looked at for what the echoed URL leaves open.

    Args:
        request: the request that was sent.
        page: the answer.
        decoder: decoder of the page's items.
        check_echo: whether to compare the parameters of the echoed URL. Its path is never compared,
            as gateways rewrite it.
        row_dates: what the dates of rows are.
        row_accounts: "any" to not compare the account ids of rows.

    Returns:
        What the answer says in place of what was asked, by kind: nothing where it agrees. A kind
        that it says nothing about is left out.
    """
    if not request.query:
        return {}
    sent = request.parameters
    account, first, last = sent.get("accountId"), sent.get("fromDate"), sent.get("toDate")
    found: dict[MismatchKind, frozenset[str]] = {}
    url = page.echoed_url
    if check_echo and url is not None and len(url) <= _LONGEST_URL:
        query = url.partition("?")[2]
        if query == request.query:  # the same text in nearly every answer: no need to parse it
            return _URL_AGREES
        echoed = parse_qs(query.partition("#")[0], keep_blank_values=True)
        names = [name for name in echoed if sent.get(name) is not None]
        if names:
            pairs = {(name, value) for name in names for value in echoed[name]}
            found["url"] = frozenset(f"{name}={value}" for name, value in pairs - sent.items())
        if "accountId" in echoed:
            account = None
        if {"fromDate", "toDate"} <= echoed.keys():
            first = last = None
    if row_accounts == "any":
        account = None
    if row_dates == "any":
        first = last = None
    if account is None and first is None and last is None:
        return found
    accounts, days = page.said_by_rows or decoder.said_by_rows(page.items, page.body)
    if account is not None and account in accounts and len(accounts) == 1:
        found["account"] = _AGREES
    elif account is not None and (accounts := accounts - {None}):
        # Case is no difference: Azure's ids are case-insensitive.
        is_own = {each.casefold() for each in accounts} == {account.casefold()}
        found["account"] = _AGREES if is_own else frozenset(accounts)
    if (first is not None or last is not None) and (days := days - {None}):
        # Text of days or months, such as 2025-01-31 and 2025-01, has the order of time.
        size = _COMPARED_CHARACTERS[row_dates]
        earliest, latest = min(days).isoformat()[:size], max(days).isoformat()[:size]
        is_within = (first or earliest)[:size] <= earliest and latest <= (last or latest)[:size]
        found["date"] = _AGREES if is_within else frozenset({earliest, latest})
    return found
