"""One call of the API, from its name to all of its items: requests, pages, deadline."""

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

from spot_billing_async._core.aio.deadline import Deadline, hard_end_s
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async._core.protocol.decoder import ItemDecoder, decoder_for
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.pagination import Page, Paginator
from spot_billing_async._core.protocol.request import build_request
from spot_billing_async._core.protocol.response import (
    Response,
    parse_large_response,
    parse_response,
)
from spot_billing_async.errors import DecodeError, SpotBillingError
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import emit

T = TypeVar("T")


async def call(
    session: SessionManager,
    operation: Operation,
    item_type: type[T],
    *,
    path_ids: Mapping[str, str] | None = None,
    query: Mapping[str, str | None] | None = None,
    body: Mapping[str, object] | None = None,
    tally: RequestCounts | None = None,
    pull_ends_at_s: float | None = None,
    totalled: bool = False,
) -> Answer[T]:
    """Call an operation and follow its pages to the end, within one deadline.

    Args:
        session: sends the requests.
        operation: what is asked for.
        item_type: what the items are decoded to.
        path_ids: values of the path's parameters.
        query: query parameters; those that are None are left out.
        body: plain data to send as JSON.
        tally: counts the requests while they are sent.
        pull_ends_at_s: None for a call of its own. For a slice of a pull, the reading of the
            session's clock at which the pull ends; being held back by the server's quota is then
            the pull's affair, and does not count against the call's deadline.
        totalled: add the items' costs up.

    Raises:
        SpotBillingError: the call failed; `attempts` says how many requests it sent.
    """
    hook = session.hook
    record = CallRecord(
        RequestCounts() if tally is None else tally, None if hook is None else session.clock
    )
    # The first of its type takes milliseconds to make.
    reader = decoder_for(item_type, totalled=totalled)
    record.lap("decode_s")
    pages: Paginator[T] = Paginator(operation)
    parameters = dict(query or {})
    read = partial(_read, operation, reader)
    problem: str | None = None
    rows = 0
    try:
        deadline = Deadline(
            session.watch,
            operation.operation_id,
            session.config.deadline_s,
            paced_freely=pull_ends_at_s is not None,
            hard_end_s=hard_end_s(pull_ends_at_s, session.clock),
        )
        with deadline:
            while True:
                request = build_request(
                    operation,
                    session.base_url,
                    session.path_of(operation),
                    path_ids=path_ids or {},
                    query=parameters,
                    body=body,
                )
                answer = pages.add(
                    await session.send(request, read, deadline=deadline, record=record)
                )
                record.lap("decode_s")
                if answer is not None:
                    rows = len(answer.items)
                    return answer
                _require_list(operation)
                parameters["paginationKey"] = pages.next_key
    except BaseException as error:
        problem = record.failed(error)
        raise
    finally:
        if hook is not None:
            record.lap("queued_s")
            asked = {**(path_ids or {}), **(query or {})}
            ended = record.ended(operation.operation_id, problem, parameters=asked, rows=rows)
            emit(hook, ended)


async def _read(
    operation: Operation, reader: ItemDecoder[T], reply: Response, token: Secret
) -> Page[T]:
    """What an answer means; nothing but a `SpotBillingError` gets out."""
    try:
        if reply.pieces:
            return await parse_large_response(operation, reply, reader, token)
        return parse_response(operation, reply, reader, token)
    except SpotBillingError:
        raise
    except Exception as error:  # noqa: BLE001  a caller's type may run code of its own
        problem = type(error).__name__
    raise DecodeError(
        f"{operation.operation_id}: reading the items failed with {problem}", permanent=True
    )


def _require_list(operation: Operation) -> None:
    """Refuse another page of what is no list: a change would be made twice."""
    if operation.method != "GET":
        raise DecodeError(
            f"{operation.operation_id}: its answer leads to another page", permanent=True
        )
