"""Comparison of an answer with its query: echoed URL, accounts and days of rows. Pure.

A server or a proxy may return the answer to another query. Where the answer says what it belongs
to, it is compared. The form of the real API's rows is not known: their ids may be the cloud
provider's, and their dates the month's. So a difference alone raises nothing; `http.confirmation`
decides.
"""

from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Literal, TypeVar, get_args
from urllib.parse import parse_qs

from spot_billing_async._core.protocol.decoder import ItemDecoder, SaidByRows
from spot_billing_async._core.protocol.pagination import Differences, Page
from spot_billing_async._core.protocol.request import Request
from spot_billing_async.telemetry import MismatchKind

T = TypeVar("T")

RowDates = Literal["day", "month", "any"]
RowAccounts = Literal["asked", "any"]
ROW_DATES: tuple[RowDates, ...] = get_args(RowDates)
ROW_ACCOUNTS: tuple[RowAccounts, ...] = get_args(RowAccounts)

_PAGE_KEY = "paginationKey"
_LONGEST_URL = 64 * 1024  # characters; parsing a longer one would block the event loop
_AGREES: frozenset[str] = frozenset()
_URL_AGREES: Differences = {"url": _AGREES}
_ROWS_AGREE: Differences = {"account": _AGREES, "date": _AGREES}


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

    The path of that URL is never compared, as gateways rewrite it. The last three arguments are
    those of `ClientConfig`.

    Returns:
        What the answer says in place of what was asked, by kind: nothing where it agrees. A kind
        that it says nothing about is left out.
    """
    sent = request.parameters
    account, first, last = sent.get("accountId"), sent.get("fromDate"), sent.get("toDate")
    found: dict[MismatchKind, frozenset[str]] = {}
    url = page.echoed_url
    if check_echo and url is not None and len(url) <= _LONGEST_URL:
        query = url.partition("?")[2]
        if query == request.query:  # the same text in nearly every answer: no need to parse it
            return _URL_AGREES
        echoed = parse_qs(query.partition("#")[0], keep_blank_values=True)
        # The key of a page that was not asked for is a difference too.
        if names := [name for name in echoed if sent.get(name) is not None or name == _PAGE_KEY]:
            pairs = {(name, value) for name in names for value in echoed[name]}
            # Some servers echo a plus sign as it is, which stands for a blank.
            found["url"] = frozenset(
                f"{name}={value}"
                for name, value in pairs
                if value.replace(" ", "+") != (sent.get(name) or "").replace(" ", "+")
            )
        account = None if "accountId" in echoed else account
        if (first is None or "fromDate" in echoed) and (last is None or "toDate" in echoed):
            first = last = None
    if row_accounts == "any":
        account = None
    days = None
    if row_dates != "any" and (first is not None or last is not None):
        days = _allowed_days(first, last, row_dates)
    if account is not None or days is not None:
        if page.said_by_rows is None and decoder.every_row_says(page.items, account, days):
            return {**found, **_ROWS_AGREE}
        found |= _found_in_rows(
            page.said_by_rows or decoder.said_by_rows(page.items, page.body), account, days
        )
    return found


def _found_in_rows(
    said: SaidByRows, account: str | None, days: tuple[date, date] | None
) -> dict[MismatchKind, frozenset[str]]:
    """Compare what rows say with the account and with the first and the last day they may have."""
    found: dict[MismatchKind, frozenset[str]] = {}
    accounts, dates = (each - {None, ""} for each in said)
    if account is not None and accounts:
        # Case is no difference: Azure's ids are case-insensitive.
        is_own = {each.casefold() for each in accounts} == {account.casefold()}
        found["account"] = _AGREES if is_own else frozenset(accounts)
    if days is not None and dates:
        earliest, latest = min(dates), max(dates)
        is_within = days[0] <= earliest and latest <= days[1]
        found["date"] = _AGREES if is_within else frozenset({str(earliest), str(latest)})
    return found


# The days of a plan repeat from account to account.
@lru_cache(maxsize=4096)
def _allowed_days(first: str | None, last: str | None, row_dates: RowDates) -> tuple[date, date]:
    """Return the first and the last day that rows may have, for days in ISO 8601 or open ends."""
    lower = date.min if first is None else date.fromisoformat(first)
    upper = date.max if last is None else date.fromisoformat(last)
    if row_dates == "month":
        lower, upper = (
            lower.replace(day=1),
            upper.replace(day=monthrange(upper.year, upper.month)[1]),
        )
    return lower, upper
