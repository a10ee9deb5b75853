"""One call of the API, from its name to all of its items: requests, pages, deadline."""

from collections.abc import Mapping
from typing import TypeVar

from spot_billing_async.errors import DecodeError, SpotBillingError
from spot_billing_async.items import reader_for
from spot_billing_async.models.results import Answer
from spot_billing_async.operations import Operation
from spot_billing_async.session import SessionManager
from spot_billing_async.telemetry import Tally
from spot_billing_async.wire import Page, Pages, Reply, build_request, read_page

T = TypeVar("T")


async def call(
    session: SessionManager,
    operation: Operation,
    item_type: type[T],
    *,
    path_ids: Mapping[str, str] | None = None,
    query: Mapping[str, str | None] | None = None,
    body: Mapping[str, object] | None = None,
    tally: Tally | None = None,
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

    Raises:
        SpotBillingError: the call failed; `attempts` says how many requests it sent.
    """
    reader = reader_for(item_type)
    path = session.config.path_overrides.get(operation.operation_id, operation.path)
    pages: Pages[T] = Pages(operation)
    sent = tally if tally is not None else Tally()
    parameters = dict(query or {})

    def read(reply: Reply, token: str) -> Page[T]:
        try:
            return read_page(operation, reply, reader, token)
        except SpotBillingError:
            raise
        except Exception as error:  # noqa: BLE001  a caller's type may run code of its own
            problem = type(error).__name__
        raise DecodeError(f"{operation.operation_id}: reading the items failed with {problem}")

    try:
        async with session.deadline(operation.operation_id) as ends_at_s:
            while True:
                request = build_request(
                    operation,
                    session.base_url,
                    path,
                    path_ids=path_ids or {},
                    query=parameters,
                    body=body,
                )
                page = await session.send(request, read, ends_at_s=ends_at_s, tally=sent)
                answer = pages.add(page)
                if answer is not None:
                    return answer
                if operation.method != "GET":
                    raise DecodeError(f"{operation.operation_id}: its answer leads to another page")
                parameters["paginationKey"] = page.next_key
    except SpotBillingError as error:
        error.attempts = sent.requests
        raise
