"""ClientConfig and its parts: frozen values, checked where they are made, units in the names."""

import ssl
from collections.abc import Mapping

import msgspec

from spot_billing_async._core.auth.secret import Secret, hidden
from spot_billing_async._core.http.tls import TlsConfig, check_tls, checked_proxy
from spot_billing_async._core.protocol.operations import check_path_overrides
from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import check_count, check_seconds, is_number


def _check_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name}: {value!r} is not allowed; allowed: a {kind.__name__}")


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently an idempotent call is tried again.

    Attributes:
        max_attempts: requests for one answer at most, the first included; 1 never retries. Those
            that are refused for their rate do not count: how long to wait is then the server's
            word, and the deadline bounds it.
        backoff_base_s: upper bound of the first random wait, in seconds; it doubles each time.
        backoff_cap_s: upper bound of any random wait, in seconds. A wait that the server asks for
            is not cut short by it: only the deadline is.
        budget_share: retries of all calls together as a share of the requests asked for: 0.2 lets a
            server that answers nothing but errors see at most 1.2 requests for each one asked for.
        budget_reserve: retries that are allowed before that share comes to as many, so that a
            single call may be tried again too.
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
                f"retry.budget_share: {self.budget_share!r} is not allowed; allowed: 0 to 1"
            )
        if type(self.budget_reserve) is not int or self.budget_reserve < 0:
            raise ConfigError(
                f"retry.budget_reserve: {self.budget_reserve!r} is not allowed; "
                "allowed: a whole number from 0"
            )


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a client, and its way to the server. Every default suits a service.

    Attributes:
        max_concurrency: requests on the wire at once at most, and the number of a pull's workers.
            Where the server does not tell its quota, fewer are sent if more would only queue there.
        deadline_s: seconds for one call, from being called to the last byte of its last page:
            queueing, connecting, retries and waits between them included.
        connect_timeout_s: seconds for making one connection, TLS included; a dead address is then
            tried again rather than eat up the deadline. Above 5 it is rounded up to whole seconds.
        max_response_bytes: size of one answer's body that is still read, both as it crosses the
            wire and decompressed; a larger one is an error, never a part of it.
        allow_insecure: permit plain http to hosts other than loopback. The token then crosses the
            network in the clear.
        path_overrides: other paths by the contract's operationId, with the same parameters, such as
            `{"listBillingEngineAccounts": "/cloudBilling/v1/setup/account"}`.
        retry: how often and how patiently idempotent calls are tried again.
        tls: whom to trust and what to show the server: a `TlsConfig`, or a ready
            `ssl.SSLContext`, which has to verify certificates and host names.
        proxy: URL of an http proxy, `http://[user:password@]host[:port]`; kept as a `Secret`, which
            hides the credentials. It tunnels https, so it sees neither token nor costs; with a
            plain http `base_url` it is refused.
        trust_env: where `proxy` is None, take it from `HTTPS_PROXY` and `NO_PROXY`, and its
            credentials from netrc, as the client is entered. No netrc entry is ever sent to the
            API.

    `tls`, `proxy` and `trust_env` are refused beside an aiohttp session of the caller's own, which
    has its own.

    Raises:
        ConfigError: a value is out of its range; names the field, the value and what is allowed.
    """

    max_concurrency: int = 32
    deadline_s: float = 120.0
    connect_timeout_s: float = 10.0
    max_response_bytes: int = 256 * 1024 * 1024
    allow_insecure: bool = False
    path_overrides: Mapping[str, str] = {}
    retry: RetryPolicy = RetryPolicy()
    tls: TlsConfig | ssl.SSLContext = TlsConfig()
    proxy: str | Secret | None = None
    trust_env: bool = False

    def __post_init__(self) -> None:
        if self.proxy is not None:  # first: what is refused after it shows this value's fields
            msgspec.structs.force_setattr(self, "proxy", hidden(self.proxy))
            msgspec.structs.force_setattr(self, "proxy", checked_proxy("proxy", self.proxy))
        check_count("max_concurrency", self.max_concurrency)
        check_seconds("deadline_s", self.deadline_s)
        check_seconds("connect_timeout_s", self.connect_timeout_s)
        check_count("max_response_bytes", self.max_response_bytes)
        _check_kind("allow_insecure", self.allow_insecure, bool)
        _check_kind("retry", self.retry, RetryPolicy)
        _check_kind("trust_env", self.trust_env, bool)
        check_tls(self.tls)
        check_path_overrides(self.path_overrides)
        # A copy: whoever gave the mapping may go on to change theirs.
        msgspec.structs.force_setattr(self, "path_overrides", dict(self.path_overrides))

    @property
    def has_plain_network(self) -> bool:
        """Whether the way to the server is left as it is by default."""
        return self.proxy is None and not self.trust_env and self.tls == TlsConfig()
