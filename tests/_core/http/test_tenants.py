"""State that is kept per token: none for a refused one, a bounded amount for the others."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import (
    AuthenticationError,
    ClientConfig,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async._core.aio.recent import RecentlyUsed
from spot_billing_async._core.http import shared
from spot_billing_async.cache import CostCache
from tests.support import serve

DAY = date(2020, 1, 1)
ROW = '{"response":{"items":[{"cost":42,"currency":"USD","date":"2020-01-01"}]}}'
ONCE = ClientConfig(retry=RetryPolicy(max_attempts=1))


class Api:
    """A server that knows some tokens.

    Attributes:
        valid: the tokens that it accepts.
        status: status of its answer to the others.
        seen: the token of each request.
    """

    def __init__(self, *valid: str, status: int = 401) -> None:
        self.valid = set(valid)
        self.status = status
        self.seen: list[str] = []

    async def handler(self, request: web.Request) -> web.Response:
        """Answer with a row, or refuse the token."""
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        await asyncio.sleep(0)
        return web.Response(text=ROW) if token in self.valid else web.Response(status=self.status)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[SpotBillingClient]:
        """Serve, and yield a client with the token "app"."""
        async with (
            serve(self.handler) as base_url,
            SpotBillingClient("app", base_url=base_url, config=ONCE, **options) as client,
        ):
            yield client


async def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(SpotBillingError):
        await call()


def provider_of(token: str) -> Any:
    async def provider() -> str:
        await asyncio.sleep(0)
        return token

    return provider


def kept(client: SpotBillingClient) -> list[int]:
    """Return the numbers of limiters, credentials and refused tokens that a client remembers."""
    gc.collect()
    state = client._shared
    limiters, credentials = dict(state._limiters), dict(state._credentials)
    assert limiters.keys() >= state._kept_limiters.keys()
    return [len(limiters), len(credentials), len(state.refused)]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_a_token_that_was_never_accepted_leaves_nothing(status: int) -> None:
    """Limiters and credentials of tokens that the API refused are gone with their views."""
    async with Api(status=status).client() as client:
        for number in range(20):
            view = client.with_token(f"made-up-{number}", tenant=f"tenant-{number}")
            await refused(view.accounts.list)
            await refused(client.with_token(provider_of(f"other-{number}")).families.list)
        del view
        assert kept(client) == [0, 0, 0]
        await refused(client.accounts.list)
        assert kept(client) == [1, 0, 0]  # a view that is in use has its limiter


async def test_a_token_without_an_answer_leaves_nothing() -> None:
    """Limiters of tokens that reached no server are gone with their views."""
    async with SpotBillingClient("app", base_url="http://127.0.0.1:9", config=ONCE) as client:
        for number in range(20):
            await refused(client.with_token(f"made-up-{number}").accounts.list)
        # Python 3.13 keeps the frames of the last failure: those of the view that is in use.
        await refused(client.accounts.list)
        assert kept(client) == [1, 0, 0]


@pytest.mark.parametrize("status", [200, 429])
async def test_views_of_a_known_token_share_its_limiter(status: int) -> None:
    """A limiter outlives its view if the API has accepted the token, or has counted its requests.

    A rate limit belongs to an organization, so the API knows the token that it limits.
    """
    api = Api("known", status=status) if status == 200 else Api(status=status)
    async with api.client() as client:
        config = client._shared.config
        assert config.deadline_s > 0
        for _ in range(2):
            call = asyncio.ensure_future(client.with_token("known").costs.get("a", DAY, DAY))
            await asyncio.wait([call], timeout=0.2)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            del call
        assert kept(client) == [1, 0, 0]


async def test_of_many_known_tokens_the_least_recently_used_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limiters and provided credentials that a client keeps have a cap."""
    monkeypatch.setattr(shared, "_MAX_LIMITERS", 8)
    monkeypatch.setattr(shared, "_MAX_CREDENTIALS", 4)
    names = [f"tenant-{number}" for number in range(30)]
    regular, providers = provider_of("regular"), [provider_of(name) for name in names]
    async with Api("regular", *names).client() as client:
        await client.with_token(regular).accounts.list()
        limiter = next(iter(client._shared._limiters.values()))
        for provider in providers:
            await client.with_token(provider).accounts.list()
            await client.with_token(regular).accounts.list()
        assert limiter in client._shared._kept_limiters.values()
        assert kept(client) == [8, 4, 0]


async def test_refused_tokens_are_remembered_for_a_cache_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a cache, digests of the most recently refused tokens are kept, and no token."""
    monkeypatch.setattr(shared, "_MAX_LIMITERS", 4)
    async with Api().client(cache=CostCache()) as client:
        for number in range(20):
            await refused(client.with_token(f"made-up-{number}").accounts.list)
        assert kept(client) == [0, 0, 4]
        assert "made-up" not in repr(client._shared.refused)


def test_a_full_mapping_forgets_the_least_recently_used_entry() -> None:
    """Setting an entry counts as its use; a mapping of no entries stays empty."""
    recent: RecentlyUsed[str, int] = RecentlyUsed(2)
    for key in "abac":
        recent.use(key, 1)
    assert list(recent) == ["a", "c"]
    nothing: RecentlyUsed[str, int] = RecentlyUsed(0)
    nothing.use("a", 1)
    assert not nothing


async def test_a_cache_is_not_read_after_a_refusal() -> None:
    """A revoked token gets no cached rows in any view, until the API accepts it again."""
    api = Api("tenant")
    async with api.client(cache=CostCache()) as client:

        def costs() -> Any:
            return client.with_token("tenant").costs.get("a", DAY, DAY)

        assert len(await costs()) == len(await costs()) == 1
        assert len(api.seen) == 1
        api.valid.clear()
        await refused(client.with_token("tenant").accounts.list)
        for _ in range(3):
            await refused(costs)
        assert len(api.seen) == 5
        api.valid.add("tenant")
        assert len(await costs()) == len(await costs()) == 1
        assert len(api.seen) == 6  # the first call asks the API, the second one reads the cache


async def test_a_made_up_token_reads_nothing_after_its_refusal() -> None:
    """A refusal of a token under a tenant's name stops that token, and not the tenant's own."""
    api = Api("real")
    async with api.client(cache=CostCache()) as client:
        real = client.with_token("real", tenant="acme")
        forged = client.with_token("forged", tenant="acme")
        await real.costs.get("a", DAY, DAY)
        await refused(forged.accounts.list)
        await refused(lambda: forged.costs.get("a", DAY, DAY))
        await refused(lambda: client.with_token("forged", tenant="acme").costs.get("a", DAY, DAY))
        requests = len(api.seen)
        assert len(await real.costs.get("a", DAY, DAY)) == 1
        assert len(api.seen) == requests


async def test_a_refused_provider_reads_nothing_from_the_cache() -> None:
    """A provider whose renewed token is refused too gets no cached rows, in any of its views."""
    api, provider = Api("one"), provider_of("one")
    async with api.client(cache=CostCache()) as client:
        view = client.with_token(provider, tenant="acme")
        await view.costs.get("a", DAY, DAY)
        api.valid.clear()
        await refused(view.accounts.list)
        await refused(lambda: client.with_token(provider, tenant="acme").costs.get("a", DAY, DAY))


async def test_a_refused_token_does_not_fail_the_tenants_own_calls() -> None:
    """Calls that joined a fetch of another token of their tenant send their own after its 401."""
    api = Api("real")
    async with api.client(cache=CostCache()) as client:
        forged = client.with_token("forged", tenant="acme").costs
        real = client.with_token("real", tenant="acme").costs
        failed, *rows = await asyncio.gather(
            forged.get("a", DAY, DAY),
            *(real.get("a", DAY, DAY) for _ in range(5)),
            return_exceptions=True,
        )
    assert isinstance(failed, AuthenticationError)
    assert [len(each) for each in rows if not isinstance(each, BaseException)] == [1] * 5
    assert api.seen == ["forged", "real"]
