"""Bearer tokens: given once, or provided by an async function and renewed when refused."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from hashlib import blake2b
from inspect import isawaitable
from secrets import token_hex

from spot_billing_async._core.aio.tasks import is_being_cancelled
from spot_billing_async._core.auth.secret import Hidden, Secret
from spot_billing_async.errors import ConfigError, SpotBillingError, TransportError, own_copy
from spot_billing_async.models.validation import checked_text

TokenProvider = Callable[[], Awaitable[str]]
"""Async function that returns the token to send. One call serves all requests that wait for a
token: before the first request, and after the server has refused (401) the last token."""

_NAMESPACE_BYTES = 16
# Quotes and backslashes are in no bearer token (RFC 6750), and are escaped wherever text is quoted,
# so that `Secret.removed_from` could miss them.
_TOKEN = re.compile(r"[!#-&(-\[\]-~]+")  # printable ASCII but for the space, quotes and backslash


class Credential:
    """A bearer token, given or provided, that does not show itself.

    The constructor refuses nothing: an error raised there would carry a frame that holds the token.
    `checked` does, and gives equal tokens one namespace.
    """

    __slots__ = ("__weakref__", "_call", "_provider", "current", "is_provided", "key", "namespace")

    def __init__(self, token: str | TokenProvider) -> None:
        self._provider = Hidden(token) if callable(token) else None
        # The running call of the provider: it results in its failure, or in None.
        self._call: asyncio.Future[SpotBillingError | None] | None = None
        # The token to send; None until the provider has returned one.
        self.current: Secret | None = None if callable(token) else Secret(token)
        # Under it quota and cached costs are kept. It does not reveal the token. As a provided
        # token changes, each such object has its own, unless its tenant is named.
        self.namespace: str = token_hex(_NAMESPACE_BYTES)
        # Equal for equal tokens, and for a provider that is given again for the same tenant.
        self.key: Hashable = self.namespace
        self.is_provided: bool = self._provider is not None

    def checked(self) -> "Credential":
        """Strip the token of white space; raise `ConfigError` unless it is sendable text."""
        if self.current is not None:
            self.current = _checked_token("token", self.current)
            self.key = self.namespace = _digest(self.current)
        return self

    def of_tenant(self, tenant: str | None) -> "Credential":
        """Move this credential to the namespace of a tenant, and return it; None keeps its own."""
        if tenant is not None:
            self.namespace = _digest(Secret(f"tenant {checked_text('tenant', tenant)}"))
        if self._provider is not None:
            # An unhashable provider cannot be compared with others, and keeps its own key.
            with suppress(TypeError):
                hash(self._provider)
                self.key = self._provider, tenant
        return self

    async def token(self) -> Secret:
        """Return the token to send. Concurrent callers share one call of the provider.

        Raises:
            ConfigError: the provider returned something that cannot be a token.
            TransportError: the provider failed; its own exception is the cause.
        """
        while self.current is None:
            call = self._call
            if call is not None:
                await asyncio.wait([call])
                if (failure := call.result()) is not None:
                    raise own_copy(failure)
                continue  # the caller that made the call may have been cancelled
            call = self._call = asyncio.get_running_loop().create_future()
            try:
                self.current = await self._provided()
            except SpotBillingError as error:
                call.set_result(error)
                raise
            finally:
                self._call = None
                if not call.done():
                    call.set_result(None)
        return self.current

    def reject(self, token: Secret) -> bool:
        """Drop a token that the server refused, and return whether there is another one to send."""
        # Of several requests that sent the token, only the first leads to a call of the provider.
        if self._provider is not None and self.current is token:
            self.current = None
        return self.current is not token

    async def _provided(self) -> Secret:
        assert self._provider is not None  # noqa: S101  otherwise `current` is never None
        try:
            awaitable: object = self._provider.reveal()()
            token = Secret(await awaitable if isawaitable(awaitable) else awaitable)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            message = "the token provider awaited something that was cancelled"
            raise TransportError(message, sent=False) from error
        except Exception as error:
            message = f"the token provider failed with {type(error).__name__}"
            raise TransportError(message, sent=False) from error
        return _checked_token("the token provider's result", token)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'provider' if self.is_provided else '***'})"


def _digest(secret: Secret) -> str:
    text = secret.reveal().encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=_NAMESPACE_BYTES, person=b"spot-billing").hexdigest()


def _checked_token(field: str, given: Secret) -> Secret:
    """Return the token without surrounding white space; no message and no frame holds it."""
    token = Secret(given.reveal().strip())
    if not _TOKEN.fullmatch(token.reveal()):
        raise ConfigError(
            f"{field} must be printable ASCII text without spaces and quotes, or an async function "
            "that returns it; the value is not shown"
        )
    return token
