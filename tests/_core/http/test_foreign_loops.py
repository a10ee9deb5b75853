"""Calls from an event loop, a thread or a process that does not own the client."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import date
from functools import partial
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest
from aiohttp import web

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    DeadlineExceededError,
    Event,
    SpotBillingClient,
    TenantClient,
    TransportError,
    deadline,
)
from spot_billing_async.cache import CostCache
from tests.soak.deadlines import run_seeds
from tests.support import serve

DAY = date(2024, 1, 1)
SOON_S, LATER_S = 0.05, 3600.0
ANOTHER = "another event loop or process"

CALLS: dict[str, Callable[[TenantClient], Awaitable[object]]] = {
    "list": lambda client: client.accounts.list(),
    "get": lambda client: client.costs.get("a"),
    "cached": lambda client: client.costs.get("a", DAY, DAY),
    "create": lambda client: client.families.create(name="f", account_ids=["a"]),
    "delete": lambda client: client.families.delete("f"),
}


async def hanging() -> str:
    """Provide no token."""
    await asyncio.sleep(LATER_S)
    return "never"


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """Run a server that never answers."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(LATER_S)
        return web.Response()

    async with serve(answer) as base_url:
        yield base_url


def opened(base_url: str, **options: Any) -> SpotBillingClient:
    """Return a client whose calls end soon."""
    config = ClientConfig(deadline_s=SOON_S)
    return SpotBillingClient("t", base_url=base_url, config=config, **options)


def state(client: TenantClient) -> list[object]:
    """Return what a call changes before its first request."""
    shared, credential = client._session.shared, client._session._credential
    return [
        *(set(shared.timer.running), shared.timer._handle, shared.timer._fires_at_s),
        *(shared.retry_budget.calls, shared.admission.limit.in_flight, credential._call),
        *(dict(shared._limiters), dict(client._session._limiters), len(shared.answers._tenants)),
    ]


def in_asyncio(work: Callable[[], Awaitable[object]]) -> None:
    """Await something in an event loop of its own."""

    async def main() -> None:
        await work()

    asyncio.run(main())


def in_no_loop(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Take the first step of a coroutine as the loop of another framework does."""
    work().send(None)


@pytest.mark.parametrize("run_in", [in_asyncio, in_no_loop])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("has_provider", [False, True])
async def test_a_foreign_call_changes_nothing(
    silent: str, run_in: Callable[..., object], name: str, has_provider: bool
) -> None:
    """A call from another event loop is refused at once, and every later deadline holds."""
    events: list[Event] = []
    client = SpotBillingClient("t", base_url=silent, hook=events.append, cache=CostCache())
    async with client:
        view = client.with_token(hanging) if has_provider else client
        asking = asyncio.create_task(view.accounts.list())
        await asyncio.sleep(0)
        before = state(view)
        with pytest.raises(ConfigError, match=ANOTHER):
            await asyncio.to_thread(run_in, partial(CALLS[name], view))
        assert events == []
        assert state(view) == before
        with pytest.raises(DeadlineExceededError), deadline(SOON_S):
            await asyncio.wait_for(CALLS[name](view), 10)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()


async def test_a_client_that_is_not_open_is_refused_before_its_hook() -> None:
    """A call outside the block raises, and is no event."""
    events: list[Event] = []
    client = SpotBillingClient("t", base_url="http://127.0.0.1:9", hook=events.append)
    with pytest.raises(ConfigError, match="not open"):
        await client.accounts.list()
    assert events == []


async def test_a_worker_thread_calls_through_the_loop(silent: str) -> None:
    """A thread's call runs in the client's loop, within the deadline of the thread's block."""

    def endpoint(client: SpotBillingClient) -> None:
        with deadline(SOON_S):
            anyio.from_thread.run(client.accounts.list)

    async with SpotBillingClient("t", base_url=silent) as client:
        with pytest.raises(DeadlineExceededError, match="or its caller"):
            await anyio.to_thread.run_sync(endpoint, client)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on, with threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_refused_even_in_the_same_loop() -> None:
    """A child would read its parent's answers, so it is refused; the parent goes on."""
    loop = asyncio.new_event_loop()
    client, closed = opened("http://127.0.0.1:9"), opened("http://127.0.0.1:9")
    loop.run_until_complete(client.__aenter__())
    child = os.fork()
    if child == 0:  # pragma: no cover  not in this process
        with suppress(BaseException):
            for run in (loop.run_until_complete, asyncio.run):
                with pytest.raises(ConfigError, match=ANOTHER):
                    run(client.accounts.list())
            asyncio.run(closed.__aenter__())  # it was not open: the child may use it
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(TransportError):
        loop.run_until_complete(client.accounts.list())
    loop.run_until_complete(client.__aexit__(None, None, None))
    loop.close()


async def test_a_caught_cancellation_is_repeated(silent: str) -> None:
    """A token provider that catches cancellations does not outlast the deadline."""
    caught: list[str] = []

    async def stubborn() -> str:
        for attempt in "abc":
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(LATER_S)
            caught.append(attempt)
        return await hanging()

    async with opened(silent) as client:
        with pytest.raises(DeadlineExceededError):
            await asyncio.wait_for(client.with_token(stubborn).accounts.list(), 10)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        with pytest.raises(DeadlineExceededError):
            await asyncio.wait_for(client.accounts.list(), 10)
    assert caught == ["a", "b", "c"]


async def test_a_task_that_cannot_be_cancelled_delays_no_other(silent: str) -> None:
    """An error in one task's `cancel` does not keep the timer from ending the other calls."""

    class Broken(asyncio.Task[Any]):
        def cancel(self, msg: object = None) -> bool:
            super().cancel(msg)
            raise ValueError

    loop, reports = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    async with opened(silent) as client:
        calls: list[asyncio.Task[Any]] = [Broken(client.accounts.list(), loop=loop)]
        calls += [asyncio.create_task(client.accounts.list()) for _ in range(5)]
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    assert {type(end) for end in ends} == {DeadlineExceededError}
    assert all(isinstance(report, ValueError) for report in reports)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on, with threads
def test_every_call_ends_at_its_deadline() -> None:
    """Calls end in mixes of foreign loops, threads, forks, cancellations and hanging providers."""
    found = run_seeds(range(40))
    assert found.problems == []
    assert max(found.late_s)[0] < 10
