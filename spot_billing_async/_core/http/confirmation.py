"""Confirmation of an answer that contradicts its query, by asking once more.

A server or a proxy that mixes answers up gives the right one then, on a new connection. A server
that repeats the contradiction answers in this way on purpose: it names accounts by other ids, dates
rows by month, or changes the URL. Other ids are accepted from then on. The rest needs a setting, as
it looks the same as a wrong answer.
"""

from contextlib import nullcontext
from typing import TypeVar

from spot_billing_async._core.aio.deadline import Deadline
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.decoder import ItemDecoder
from spot_billing_async._core.protocol.pagination import Contradictions, Page
from spot_billing_async._core.protocol.request import Request
from spot_billing_async.errors import DecodeError

T = TypeVar("T")

_FREE_REQUESTS = 2  # requests for one response that take nothing of the retry budget
_SHOWN = 3  # values in an error's text


async def confirmed(
    session: SessionManager,
    request: Request,
    page: Page[T],
    decoder: ItemDecoder[T],
    *,
    deadline: Deadline,
    record: CallRecord,
) -> Page[T]:
    """Return a page that agrees with its query, or names accounts as this server always does.

    Raises:
        DecodeError: the contradiction remains; the message names the setting that accepts it.
        SpotBillingError: asking again failed.
    """
    shared, answers, differs = session.shared, session.answers, page.differs
    most = max(_FREE_REQUESTS, shared.config.retry.max_attempts)
    # One call finds out for all others, unless it is a mix-up, which tells nothing of the server.
    others_agree = page.is_mixed_up or differs.keys() <= answers.agreed - {"account"}
    async with nullcontext() if others_agree else answers.trial():
        if "account" in answers.differing and not page.is_mixed_up:  # found out meanwhile
            differs = {kind: said for kind, said in differs.items() if kind != "account"}
        sent = 1
        while differs:
            is_habit = bool(differs.keys() & (answers.differing - {"account"}))
            error = _error(request, differs, permanent=is_habit)
            record.counts.mismatches += 1
            record.add_failure(error)
            may_send = sent < _FREE_REQUESTS or (sent < most and shared.retry_budget.take())
            if is_habit or not may_send:
                raise error
            record.counts.retries += 1
            sent += 1
            page = await session.send(request, decoder, deadline=deadline, record=record)
            is_repeated, differs = page.differs == differs, page.differs
            kinds = differs.keys() - {"account"}
            if differs and is_repeated and not (page.is_mixed_up or kinds & answers.agreed):
                # Ids of a response that is refused for another reason are not the server's own.
                answers.differing |= kinds or {"account"}
                differs = differs if kinds else {}
    return page


def _error(request: Request, differs: Contradictions, *, permanent: bool) -> DecodeError:
    """Return the error for an answer that contradicts its query in `differs`."""
    sent = request.parameters
    kind, said = next(iter(differs.items()))
    # repr escapes characters that are not printable: they come from the server.
    values = ", ".join(map(repr, said[:_SHOWN])) + (" and others" if len(said) > _SHOWN else "")
    days = f"{sent.get('fromDate') or 'any day'} to {sent.get('toDate') or 'any day'}"
    problem, setting = {
        "url": (
            f"the server says that it was asked for {values}",
            "ClientConfig(check_echo=False)",
        ),
        "account": (
            f"its rows are of account {values}, not of {sent.get('accountId')!r}",
            "ClientConfig(row_accounts='any')",
        ),
        "date": (
            f"its rows are of {values}, outside of {days}",
            "ClientConfig(row_dates='month') or ClientConfig(row_dates='any')",
        ),
    }[kind]
    return DecodeError(
        f"{request.operation.operation_id}: the response belongs to another query: {problem}; if "
        f"this server always answers in this way, {setting} accepts it",
        permanent,
    )
