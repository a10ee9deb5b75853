"""SpotBillingClient: puts the parts together."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp

from spot_billing_async._core.auth.credentials import Credential, Credentials, TokenProvider
from spot_billing_async._core.auth.settings import resolve
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.http.transport import Transport
from spot_billing_async._core.pacing.abc import Limiter, SharedQuota
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.pacing.registry import LimiterRegistry
from spot_billing_async.cache import CostCache
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import checked_id
from spot_billing_async.resources.accounts import AccountsResource
from spot_billing_async.resources.billing_engine import BillingEngineResource
from spot_billing_async.resources.cost_intelligence import CostIntelligenceResource
from spot_billing_async.resources.costs import CostsResource
from spot_billing_async.resources.families import FamiliesResource
from spot_billing_async.telemetry import Hook, check_hook


class TenantClient:
    """The API as one credential sees it. Made by `SpotBillingClient`, or by its `with_token`.

    Attributes:
        account_id: the account that `costs.get` asks for where it is given none; may be None.
        accounts: accounts registered with Billing Engine.
        billing_engine: linking accounts to their cost data.
        families: named groups of accounts.
        costs: cost analysis.
        cost_intelligence: Cost Intelligence of an account.
    """

    def __init__(
        self, session: SessionManager, account_id: str | None, cache: CostCache | None = None
    ) -> None:
        self._session = session
        self._cache = cache
        self.account_id = account_id
        self.accounts = AccountsResource(session)
        self.billing_engine = BillingEngineResource(session)
        self.families = FamiliesResource(session)
        self.costs = CostsResource(session, account_id, cache)
        self.cost_intelligence = CostIntelligenceResource(session)

    @property
    def base_url(self) -> str:
        """Where requests go, without a slash at its end."""
        return self._session.base_url

    def with_token(
        self,
        token: str | TokenProvider,
        *,
        account_id: str | None = None,
        tenant: str | None = None,
    ) -> "TenantClient":
        """A view for another tenant over the same connections and limits.

        It works while the client that it was made from is entered, and needs no closing. It costs
        little: make one for each request if need be. Views with the same token share what is known
        of its quota; so do views with the same provider, which also share the token: hand over the
        same function each time, or the same method of the same object.

        Args:
            token: the tenant's token, or an async function that provides it.
            account_id: the tenant's own account, as for `SpotBillingClient`.
            tenant: the tenant's name, as for `SpotBillingClient`.

        Raises:
            ConfigError: an argument is not usable.
        """
        credential = Credential(token)
        del token  # no frame that raises holds it
        return TenantClient(
            self._session.with_credential(credential.checked().of_tenant(tenant)),
            _checked_account(account_id),
            self._cache,
        )

    def __repr__(self) -> str:
        if "account_id" not in vars(self):  # it is refused, and its traceback is shown
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}(base_url={self.base_url!r}, account_id={self.account_id!r})"


class SpotBillingClient(TenantClient):
    """Client of the Spot Billing Engine API. Use it as an async context manager.

    Args:
        token: the bearer token, or an async function that provides it: it is called before the
            first request, and when the server has refused its token. None looks into the
            environment (`SPOTINST_TOKEN`), then into `~/.spotinst/credentials`.
        base_url: where the API is; None takes `SPOTINST_BASE_URL`, else the contract's server.
            Plain http is for loopback hosts alone, but for `ClientConfig(allow_insecure=True)`.
        account_id: the account that `costs.get` asks for where it is given none. None looks into
            `SPOTINST_ACCOUNT`, then into the credentials file.
        config: limits, and the way to the server: TLS, proxy.
        session: an aiohttp session of the caller's, who then also closes it. Its connector's limit
            holds beside `max_concurrency`. Its TLS, proxy, cookies and traces are the caller's:
            `tls`, `proxy` and `trust_env` of the config are refused beside it.
        hook: a plain function that is told of every request and call as they end: it is given a
            `telemetry.Event`, on the event loop. `telemetry.fan_out` makes one hook of several.
        cache: keeps costs, and shares fetches of them; None for none. It is entered and left with
            the client, and its views for other tenants use it too, each in a space of its own.
        quota: what other processes share of the server's rate limit, such as a `redis.RedisQuota`;
            None for nothing. It is opened and closed with the client.
        tenant: names whose token it is. Views and processes share cached costs and quota where they
            have the same token; or, whatever their tokens are, where they have the same name: two
            tenants must not. A token that is provided needs one for that, as it changes.

    Raises:
        ConfigError: there is no token, or a value is not usable; names it and what is allowed.
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
        del token  # no frame that raises holds it
        if not isinstance(config, ClientConfig):
            raise ConfigError(f"config: {config!r} is not allowed; allowed: a ClientConfig")
        if hook is not None:
            check_hook("hook", hook)
        if cache is not None and not isinstance(cache, CostCache):
            raise ConfigError(f"cache: {cache!r} is not allowed; allowed: a CostCache, or None")
        if quota is not None and not isinstance(quota, SharedQuota):
            raise ConfigError(f"quota: {quota!r} is not allowed; allowed: a SharedQuota, or None")
        settings = resolve(credential, account_id, base_url, allow_insecure=config.allow_insecure)
        self._connections = Transport(
            config, settings.base_url, session, times_connecting=hook is not None
        )
        self._quota = quota
        limiters = LimiterRegistry(
            limiter_factory(settings.base_url, config, quota), self._connections.clock
        )
        super().__init__(
            SessionManager(
                self._connections,
                settings.credential.of_tenant(tenant),
                settings.base_url,
                config,
                limiters,
                Credentials(),
                hook,
            ),
            _checked_account(settings.account_id),
            cache,
        )

    async def __aenter__(self) -> Self:
        await self._connections.open()
        if self._quota is not None:
            try:
                await self._quota.open(self._connections.admission, self._connections.clock)
            except BaseException:
                await self._connections.close()
                raise
        if self._cache is not None:
            try:
                await self._cache.__aenter__()
            except BaseException:
                await self._disconnect()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._cache is not None:
                await self._cache.__aexit__(kind, error, trace)
        finally:
            await self._disconnect()

    async def _disconnect(self) -> None:
        try:
            await self._connections.close()
        finally:
            if self._quota is not None:
                await self._quota.close()


def _checked_account(account_id: str | None) -> str | None:
    return None if account_id is None else checked_id("account_id", account_id)


def limiter_factory(
    base_url: str, config: ClientConfig, quota: SharedQuota | None
) -> Callable[[str, str], Limiter]:
    """What makes the gates of a client: those that other processes share, where there is a quota.

    Args:
        base_url: the server.
        config: limits.
        quota: what is shared; None has each gate decide for this process alone.
    """

    def make(namespace: str, operation_id: str) -> Limiter:
        if quota is None:
            return RouteLimiter(config.retry.backoff_base_s)
        return quota.limiter(f"{namespace} {base_url} {operation_id}", deadline_s=config.deadline_s)

    return make
