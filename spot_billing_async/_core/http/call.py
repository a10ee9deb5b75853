"""One call of an operation: requests, pages, deadline."""

from collections.abc import Mapping
from typing import TypeVar

from spot_billing_async._core.aio.deadline import Deadline
from spot_billing_async._core.aio.tasks import current_task
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.confirmation import confirmed
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.pagination import Paginator
from spot_billing_async._core.protocol.request import build_request
from spot_billing_async.errors import DecodeError, SpotBillingError, without_frames
from spot_billing_async.models.results import Answer

T = TypeVar("T")


async def call(
    session: SessionManager,
    operation: Operation,
    item_type: type[T],
    *,
    path_ids: Mapping[str, str] | None = None,
    query: Mapping[str, str | None] | None = None,
    body: Mapping[str, object] | None = None,
    counts: RequestCounts | None = None,
    pull_ends_at_s: float | None = None,
    totalled: bool = False,
) -> Answer[T]:
    """Call an operation and follow its pages to the end, within one deadline.

    For a slice of a pull, `pull_ends_at_s` is the reading of the clock at which the pull ends;
    waiting for the server's quota then does not count against the call's deadline. With `totalled`,
    the items' costs are added up.

    Raises:
        SpotBillingError: the call failed; `attempts` is the number of requests it sent. A client
            that is not open in this event loop fails it before anything else happens, hooks too.
    """
    shared = session.shared
    task = shared.require_open(current_task())
    record = CallRecord(RequestCounts() if counts is None else counts, shared.hook, shared.clock)
    decoder = decoder_for(item_type, totalled=totalled)
    if record.is_timed:
        record.lap("decode_s")  # the first decoder of a type takes milliseconds to make
    paginator: Paginator[T] = Paginator(operation)
    parameters = query or {}
    name = operation.operation_id
    answer: Answer[T] | None = None
    failure: str | None = None
    rows = restarts = 0
    try:
        timeout_s = shared.config.deadline_s
        with Deadline(shared.timer, task, name, timeout_s, pull_ends_at_s) as deadline:
            while answer is None:
                request = build_request(
                    operation,
                    shared.base_url,
                    shared.paths[name],
                    path_ids=path_ids or {},
                    query=parameters,
                    body=body,
                )
                page = await session.send(request, decoder, deadline=deadline, record=record)
                if page.differs:
                    page = await confirmed(
                        session, request, page, decoder, deadline=deadline, record=record
                    )
                try:
                    answer = paginator.add(page)
                except DecodeError as error:
                    restarts += 1
                    is_last = restarts >= shared.config.retry.max_attempts
                    may_retry = operation.idempotent and not (error.permanent or is_last)
                    if not may_retry or not shared.retry_budget.take():
                        raise without_frames(error) from None  # they hold the page
                    # All pages are requested again, over new connections.
                    record.add_failure(error)
                    record.counts.retries += 1
                    shared.transport.distrust()
                    paginator, parameters = Paginator(operation), query or {}
                    continue
                if record.is_timed:
                    record.lap("decode_s")
                parameters = {**parameters, "paginationKey": paginator.next_key}
            rows = len(answer.items)
            return answer
    except BaseException as error:
        failure = type(error).__name__
        if isinstance(error, SpotBillingError):
            record.complete(error)
        raise
    finally:
        if record.is_timed:
            all_parameters = {**(path_ids or {}), **(query or {})}
            record.call_ended(name, failure, parameters=all_parameters, rows=rows)
