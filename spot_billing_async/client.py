"""The client: wires the parts together, and offers one resource for each tag of the API."""

from contextlib import AsyncExitStack
from functools import cached_property
from typing import Any, Self

import aiohttp

from spot_billing_async._core.auth.credentials import Credential, TokenProvider
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.auth.settings import resolve
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.http.shared import SharedState
from spot_billing_async._core.http.transport import Transport
from spot_billing_async._core.pacing.abc import SharedQuota
from spot_billing_async.cache import CostCache
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import checked_id
from spot_billing_async.resources.accounts import AccountsResource, FamiliesResource
from spot_billing_async.resources.costs import CostsResource
from spot_billing_async.resources.setups import BillingEngineResource, CostIntelligenceResource
from spot_billing_async.telemetry import Hook, check_hook


class TenantClient:
    """The API as one credential sees it. Made by `SpotBillingClient` and its `with_token`.

    Attributes:
        account_id: account that `costs.get` uses if it is given none; may be None.
    """

    def __init__(
        self, session: SessionManager, account_id: str | None, cache: CostCache | None = None
    ) -> None:
        self._session = session
        self._cache = cache
        self.account_id: str | None = (
            None if account_id is None else checked_id("account_id", account_id)
        )

    # Cached properties rather than attributes: `help` and `dir` then show the resources of the
    # class, and a view makes only those that it uses.

    @cached_property
    def accounts(self) -> AccountsResource:
        """Accounts registered with Billing Engine: `list`."""
        return AccountsResource(self._session)

    @cached_property
    def billing_engine(self) -> BillingEngineResource:
        """Setup that links billing accounts to their cost data: `setup`, `validate`."""
        return BillingEngineResource(self._session)

    @cached_property
    def families(self) -> FamiliesResource:
        """Named groups of accounts: `create`, `list`, `get`, `update`, `delete`."""
        return FamiliesResource(self._session)

    @cached_property
    def costs(self) -> CostsResource:
        """Cost analysis: `get` for one query, `pull` for many."""
        return CostsResource(self._session, self.account_id, self._cache)

    @cached_property
    def cost_intelligence(self) -> CostIntelligenceResource:
        """Setup of Cost Intelligence for a billing account: `setup`, `validate`."""
        return CostIntelligenceResource(self._session)

    @property
    def base_url(self) -> str:
        """URL that requests are sent to, without a trailing slash."""
        return self._session.shared.base_url

    def with_token(
        self,
        token: str | TokenProvider,
        *,
        account_id: str | None = None,
        tenant: str | None = None,
    ) -> "TenantClient":
        """Return a view of the API for another tenant, over the same connections and limits.

        The view works while its client is entered, and needs no closing. It is cheap: make one per
        request if that is convenient. Views with the same token share what is known of its quota.
        So do views with the same token provider, which also share the token: pass the same function
        each time, or the same method of the same object.

        Args:
            token: the tenant's token, or an async function that returns it.
            account_id: the tenant's own account, as for `SpotBillingClient`.
            tenant: the tenant's name, as for `SpotBillingClient`.
        """
        credential = Credential(token)
        del token  # no frame that raises holds it
        session = SessionManager(self._session.shared, credential.checked().of_tenant(tenant))
        return TenantClient(session, account_id, self._cache)

    def __repr__(self) -> str:
        if "account_id" not in vars(self):  # the constructor raised, and its traceback is shown
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}(base_url={self.base_url!r}, account_id={self.account_id!r})"


class SpotBillingClient(TenantClient):
    """Client of the Spot Billing Engine API, used as an async context manager.

    Args:
        token: bearer token, or an async function that returns it; the function is called before
            the first request, and again after the server has refused its token (401). None reads
            `SPOTINST_TOKEN`, then `~/.spotinst/credentials`.
        base_url: URL of the API. None reads `SPOTINST_BASE_URL`, then uses the contract's server.
            Plain http is for loopback hosts only, unless `ClientConfig(allow_insecure=True)`.
        account_id: account that `costs.get` uses if it is given none. None reads
            `SPOTINST_ACCOUNT`, then the credentials file.
        config: limits, TLS and proxy.
        session: aiohttp session of the caller, who also closes it. Its connector's limit holds in
            addition to `max_concurrency`. TLS, proxy, cookies and traces are the session's: `tls`,
            `proxy`, `trust_env`, `reuse_connections` and `keepalive_s` of the config are refused.
        hook: function that receives a `telemetry.Event` at the end of each request and call, on the
            event loop. `telemetry.fan_out` combines several.
        cache: keeps costs and shares fetches; None for no cache. It is entered and left with the
            client. Views for other tenants use it too, each in a namespace of its own.
        quota: rate limit shared with other processes, such as a `redis.RedisQuota`; None paces this
            process alone. It is opened and closed with the client.
        tenant: name of the token's owner. Views and processes share cached costs and quota if they
            have the same token, or the same tenant name: never give two tenants one name. A token
            provider needs a name for that, because its token changes.

    Raises:
        ConfigError: the token is missing, or a value is not usable; the message names the field.
    """

    def __init__(
        self,
        token: str | TokenProvider | None = None,
        *,
        base_url: str | None = None,
        account_id: str | None = None,
        config: ClientConfig = ClientConfig(),  # noqa: B008  frozen: one value serves all
        session: aiohttp.ClientSession | None = None,
        hook: Hook | None = None,
        cache: CostCache | None = None,
        quota: SharedQuota | None = None,
        tenant: str | None = None,
    ) -> None:
        credential = None if token is None else Credential(token)
        hidden_url = None if base_url is None else Secret(base_url)
        del token, base_url  # no frame that raises holds the token or, in the URL, a password
        if not isinstance(config, ClientConfig):
            raise ConfigError(f"config must be a ClientConfig, got {config!r}")
        if hook is not None:
            check_hook("hook", hook)
        if cache is not None and not isinstance(cache, CostCache):
            raise ConfigError(f"cache must be a CostCache or None, got {cache!r}")
        if quota is not None and not isinstance(quota, SharedQuota):
            raise ConfigError(f"quota must be a SharedQuota or None, got {quota!r}")
        settings = resolve(credential, account_id, hidden_url, allow_insecure=config.allow_insecure)
        transport = Transport(config, settings.base_url, session)
        self._shared = SharedState(
            config, settings.base_url, transport, hook, quota, has_cache=cache is not None
        )
        sender = SessionManager(self._shared, settings.credential.of_tenant(tenant))
        super().__init__(sender, settings.account_id, cache)
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._shared.open()
        async with AsyncExitStack() as opened:
            opened.push_async_callback(self._shared.close)
            if self._cache is not None:
                await opened.enter_async_context(self._cache)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *raised: Any) -> None:  # noqa: ANN401, PYI036  passed on
        await self._opened.__aexit__(*raised)
