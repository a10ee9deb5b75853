"""Confirmation of an answer that contradicts its query, by asking once more.

A server or a proxy that mixes answers up gives the right one then, on a new connection. A server
that repeats the contradiction answers in this way on purpose: it names accounts by other ids, dates
rows by month, or changes the URL. Other ids are accepted from then on. The rest needs a setting, as
it cannot be told from a wrong answer.
"""

from contextlib import nullcontext
from typing import TypeVar

from spot_billing_async._core.aio.deadline import Deadline
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.decoder import ItemDecoder
from spot_billing_async._core.protocol.pagination import Differences, Page
from spot_billing_async._core.protocol.request import Request
from spot_billing_async.errors import DecodeError

T = TypeVar("T")

_RETRIED = 2  # requests that an answer may take without a share of the retry budget
_SHOWN = 3  # values in an error's text
_SHOWN_CHARACTERS = 100  # of each


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

    Args:
        session: sends the request again.
        request: the request.
        page: the answer that contradicts it.
        decoder: decodes the items.
        deadline: deadline of the call.
        record: record of the call.

    Raises:
        DecodeError: the contradiction remains; the message names the setting that accepts it.
        SpotBillingError: asking again failed.
    """
    shared, account_id = session.shared, request.parameters.get("accountId")
    answers = shared.answers.of_tenant(session.namespace)
    differs = page.differs or {}
    # One call finds out for all, unless it is a mix-up: other answers agree in these kinds, or the
    # rows are those of another query.
    is_mix_up = differs.keys() <= answers.agreed | {"account"} and (
        "account" not in differs or shared.answers.is_mixed_up(differs, account_id)
    )
    async with nullcontext() if is_mix_up else answers.trial:
        differs = shared.answers.contested(session.namespace, differs, account_id)
        for attempt in range(_RETRIED, max(_RETRIED, shared.config.retry.max_attempts) + 1):
            if not differs:
                return page
            on_purpose = bool(differs.keys() & answers.differing - {"account"})
            error = _error(request, differs, permanent=on_purpose)
            record.counts.mismatches += 1
            record.attempt_errors.append(f"{type(error).__name__}: {error}")
            if on_purpose or (attempt > _RETRIED and not shared.retry_budget.take()):
                raise error
            record.counts.retries += 1
            page = await session.send(request, decoder, deadline=deadline, record=record)
            is_repeated, differs = page.differs == differs, page.differs or {}
            is_mix_up = bool(
                differs.keys() & answers.agreed - {"account"}
            ) or shared.answers.is_mixed_up(differs, account_id)
            if differs and is_repeated and not is_mix_up:
                # Ids of an answer that is refused for another reason are not the server's own.
                answers.differing |= differs.keys() - {"account"} or {"account"}
                differs = shared.answers.contested(session.namespace, differs, account_id)
    if not differs:
        return page
    error = _error(request, differs, permanent=False)
    record.counts.mismatches += 1
    record.attempt_errors.append(f"{type(error).__name__}: {error}")
    raise error


def _error(request: Request, differs: Differences, *, permanent: bool) -> DecodeError:
    """Return the error for an answer that contradicts its query in `differs`."""
    sent = request.parameters
    kind, said = next(iter(differs.items()))
    # repr escapes characters that are not printable: they come from the server.
    values = ", ".join(repr(value[:_SHOWN_CHARACTERS]) for value in sorted(said)[:_SHOWN])
    values += f" and {len(said) - _SHOWN} others" if len(said) > _SHOWN else ""
    problem, setting = {
        "url": (f"the server says that it was asked for {values}", "check_echo=False"),
        "account": (
            f"its rows are of account {values}, not of {sent.get('accountId')!r}",
            "row_accounts='any'",
        ),
        "date": (
            f"its rows are of {values}, outside of {sent.get('fromDate')} to {sent.get('toDate')}",
            "row_dates='month' or row_dates='any'",
        ),
    }[kind]
    return DecodeError(
        f"{request.operation.operation_id}: the response belongs to another query: {problem}; if "
        f"this server answers in this way, ClientConfig({setting}) accepts it",
        permanent,
    )
