"""Settings of a client: frozen values, checked when they are made, units in the names."""

import ssl
from collections.abc import Mapping

import msgspec

from spot_billing_async._core.auth.secret import Secret, hidden
from spot_billing_async._core.http.tls import TlsConfig, check_tls, checked_proxy
from spot_billing_async._core.protocol.comparison import (
    ROW_ACCOUNTS,
    ROW_DATES,
    RowAccounts,
    RowDates,
)
from spot_billing_async._core.protocol.operations import check_path_overrides
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import check_count, check_flag, check_seconds, is_number

KEEPALIVE_S = 4.0
"""uvicorn, Node.js and Apache close after 5 s, AWS load balancers after 60 s, nginx after 75 s."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of retries: how often idempotent calls are retried, and after what waits.

    Attributes:
        max_attempts: most requests for one response, the first included; 1 never retries, except
            once for a response that contradicts its query, which takes nothing of the budget.
            Rate-limited requests do not count: the server says how long to wait, and the deadline
            ends the wait.
        backoff_base_s: upper bound of the first random wait, in seconds. It doubles with each
            attempt.
        backoff_cap_s: upper bound of every random wait, in seconds. A wait that the server asks
            for may be longer; only the deadline ends it.
        budget_share: retries of all calls together, as a share of all first requests. With 0.2, a
            server that answers only with errors gets at most 1.2 requests per call.
        budget_reserve: retries that are allowed in any case, so that a single call is retried too.

    Raises:
        ConfigError: a value is out of its range.
    """

    max_attempts: int = 4
    backoff_base_s: float = 0.25
    backoff_cap_s: float = 8.0
    budget_share: float = 0.2
    budget_reserve: int = 10

    def __post_init__(self) -> None:
        check_count("retry.max_attempts", self.max_attempts)
        check_seconds("retry.backoff_base_s", self.backoff_base_s)
        check_seconds("retry.backoff_cap_s", self.backoff_cap_s)
        if not is_number(self.budget_share) or not 0 <= self.budget_share <= 1:
            raise ConfigError(
                f"retry.budget_share must be a number from 0 to 1, got {self.budget_share!r}"
            )
        check_count("retry.budget_reserve", self.budget_reserve, minimum=0)


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a client, and its connection to the server.

    Attributes:
        max_concurrency: most requests in flight at once, and the number of a pull's workers. If the
            server sends no rate-limit headers, the client stays below it where response times show
            that further requests would only queue at the server.
        deadline_s: seconds for one call, from its start to the last byte of its last page. It
            covers queueing, connecting, retries and the waits between them.
        outage_patience_s: seconds that a pull waits for an API that is away. Then the slices that
            are left fail at once.
        connect_timeout_s: seconds to open one connection: name, proxy and TLS included. After it
            the request is retried on a new connection.
        attempt_timeout_s: seconds without a byte after which an idempotent request is sent again on
            a new connection, with twice the time; the last one has all that is left. A server whose
            responses, or those of as many days, have taken longer is given more.
        max_response_bytes: largest response body, both on the wire and decompressed. A larger one
            is an error, never a partial result.
        reuse_connections: keep connections for later requests. False opens one for each request, if
            a server or a proxy may send responses twice.
        keepalive_s: seconds for which an idle connection is kept; by default fewer than by servers,
            which may close it as the next request arrives.
        check_echo: compare the parameters of the URL that a response echoes with those sent. An
            answer that differs, in this or in its rows, is asked for once more; if the URL differs
            again, the call fails. False is for gateways that change parameters.
        row_dates: precision of row dates: "day" must be within the requested range, "month" within
            its months, "any" is not compared. With the last two the cache is not used.
        row_accounts: "asked" refuses rows of accounts that other queries asked for, and accepts
            other ids, such as the cloud provider's, once the server has repeated them. "any"
            accepts all.
        allow_insecure: allow plain http to hosts other than loopback. The token then crosses the
            network in the clear.
        path_overrides: other paths by the contract's operationId, with the same parameters, such as
            `{"listBillingEngineAccounts": "/cloudBilling/v1/setup/account"}`.
        retry: how often, and after what waits, idempotent calls are retried.
        tls: trusted authorities and client certificate: a `TlsConfig`, or an `ssl.SSLContext` that
            verifies certificates and host names.
        proxy: URL of an http proxy, `http://[user:password@]host[:port]`, kept as a `Secret` that
            hides the credentials. It tunnels https, so it sees neither token nor costs; with a
            plain http `base_url` it is refused.
        trust_env: if `proxy` is None, take it from `HTTPS_PROXY` and `NO_PROXY`, and its
            credentials from netrc, when the client is entered. No netrc entry is sent to the API.

    `tls`, `proxy`, `trust_env`, `reuse_connections` and `keepalive_s` are refused together with an
    aiohttp session of the caller's own, which has its own.

    Raises:
        ConfigError: a value is out of its range; the message names the field and the value.
    """

    max_concurrency: int = 32
    deadline_s: float = 120.0
    outage_patience_s: float = 600.0
    connect_timeout_s: float = 10.0
    attempt_timeout_s: float = 5.0
    max_response_bytes: int = 256 * 1024 * 1024
    reuse_connections: bool = True
    keepalive_s: float = KEEPALIVE_S
    check_echo: bool = True
    row_dates: RowDates = "day"
    row_accounts: RowAccounts = "asked"
    allow_insecure: bool = False
    path_overrides: Mapping[str, str] = {}
    retry: RetryPolicy = RetryPolicy()
    tls: TlsConfig | ssl.SSLContext = TlsConfig()
    proxy: str | Secret | None = None
    trust_env: bool = False

    def __post_init__(self) -> None:
        # The proxy comes first: a later error's traceback shows the fields of this value.
        if self.proxy is not None:
            msgspec.structs.force_setattr(self, "proxy", hidden(self.proxy))
            msgspec.structs.force_setattr(self, "proxy", checked_proxy("proxy", self.proxy))
        check_count("max_concurrency", self.max_concurrency)
        for field in self.__struct_fields__:
            if field.endswith("_s"):
                check_seconds(field, getattr(self, field))
        check_count("max_response_bytes", self.max_response_bytes)
        for flag in ("reuse_connections", "check_echo", "allow_insecure", "trust_env"):
            check_flag(flag, getattr(self, flag))
        for field, allowed in (("row_dates", ROW_DATES), ("row_accounts", ROW_ACCOUNTS)):
            if getattr(self, field) not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise ConfigError(f"{field} must be one of {choices}, got {getattr(self, field)!r}")
        if not isinstance(self.retry, RetryPolicy):
            raise ConfigError(f"retry must be a RetryPolicy, got {self.retry!r}")
        check_tls(self.tls)
        check_path_overrides(self.path_overrides)
        # A copy: the caller may change the mapping afterwards.
        msgspec.structs.force_setattr(self, "path_overrides", dict(self.path_overrides))

    @property
    def has_default_network(self) -> bool:
        """True if the settings that an aiohttp session has of its own have their defaults."""
        is_direct = self.proxy is None and not self.trust_env and self.tls == TlsConfig()
        return is_direct and self.reuse_connections and self.keepalive_s == KEEPALIVE_S
