"""Who asks, and whom: token, account and base URL from arguments, environment and file.

Arguments beat the environment, which beats the file, field by field; a profile that is asked for by
name beats the environment. Names and file format are those of the vendor's own tools.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from hashlib import blake2b
from inspect import isawaitable
from secrets import token_hex
from typing import NoReturn

from spot_billing_async._core.aio.tasks import is_being_cancelled
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.errors import ConfigError, SpotBillingError, TransportError, own_copy
from spot_billing_async.models.validation import checked_text

TokenProvider = Callable[[], Awaitable[str]]
"""Answers the token to send. It is called once for all who wait for a token: before the first
request, and when the server has refused (401) the token that it answered last."""


_NAMESPACE_BYTES = 16


_MOST_SOURCES = 1_000


class _Asking:
    """A provider that is being asked.

    Attributes:
        done: it has answered, failed, or is asked no longer.
        failure: what it failed with.
    """

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.failure: SpotBillingError | None = None


class Credential:
    """A bearer token, given or provided, that does not show itself.

    Making one refuses nothing: the frame that it would be refused in holds the token.

    Attributes:
        present: the token to send, as long as none has to be asked for.
        space: what stands for it where something is shared or kept: equal for equal tokens, and no
            way back to them. What is provided changes, so that this very object has a space, unless
            its tenant is named.
    """

    __slots__ = ("_asking", "_provider", "_tenant", "namespace", "present")

    def __init__(self, token: str | TokenProvider) -> None:
        self._provider = token if callable(token) else None
        self._asking: _Asking | None = None
        self._tenant: str | None = None
        given = None if self._provider is not None else Secret(token)
        self.present = given
        self.namespace = token_hex(_NAMESPACE_BYTES) if given is None else _digest(given)

    def checked(self) -> "Credential":
        """This one, if what was given may be sent.

        Raises:
            ConfigError: it is neither a token nor a provider.
        """
        if self.present is not None:
            self.present = _checked_token("token", self.present)
            self.namespace = _digest(self.present)
        return self

    def of_tenant(self, tenant: str | None) -> "Credential":
        """This one, with the space of a tenant that the caller names; None names none.

        Raises:
            ConfigError: that is no name.
        """
        self._tenant = tenant
        if tenant is not None:
            self.namespace = _digest(Secret(f"tenant {checked_text('tenant', tenant)}"))
        return self

    @property
    def source(self) -> Hashable:
        """What its tokens come from and whose they are; None where it was given its token."""
        return None if self._provider is None else (self._provider, self._tenant)

    async def token(self) -> Secret:
        """The token to send now. All who wait for it wait for one call of the provider.

        Raises:
            ConfigError: the provider answered something that cannot be a token.
            TransportError: the provider failed; its own exception is the cause.
        """
        while self.present is None:
            asking = self._asking
            if asking is None:
                return await self._renewed()
            await asking.done.wait()
            if asking.failure is not None:
                raise own_copy(asking.failure)
        return self.present

    def reject(self, token: Secret) -> bool:
        """The server has refused a token; whether there is, or will be, another one to send.

        Only the first of those who sent it has the provider asked anew.
        """
        if self._provider is not None and self.present is token:
            self.present = None
        return self.present is not token

    async def _renewed(self) -> Secret:
        asking = self._asking = _Asking()
        try:
            self.present = await _provided(self._provider)
        except SpotBillingError as error:
            asking.failure = error
            raise
        finally:
            self._asking = None
            asking.done.set()
        return self.present

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'***' if self._provider is None else 'provider'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential is not pickled: it would write the token out")


class Credentials:
    """The credentials of a client's views: those that one provider provides for are one.

    So the token, and what is shared by it, outlives a view that is made for one request. Those that
    were not used for longest are let go of.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Credential] = {}

    def one_of(self, credential: Credential) -> Credential:
        """The credential of the same source that is known already, or else this one."""
        source = credential.source
        if source is None:
            return credential
        try:
            known = self._kept.pop(source, credential)
        except TypeError:  # a provider that cannot be told from others
            return credential
        self._kept[source] = known
        if len(self._kept) > _MOST_SOURCES:
            del self._kept[next(iter(self._kept))]
        return known


def _digest(token: Secret) -> str:
    text = token.reveal().encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=_NAMESPACE_BYTES, person=b"spot-billing").hexdigest()


async def _provided(provider: TokenProvider | None) -> Secret:
    """A provider's answer, checked.

    Raises:
        ConfigError, TransportError: as `Credential.token`.
    """
    assert provider is not None  # noqa: S101  nobody else is asked
    try:
        token = await _ask(provider)
    except asyncio.CancelledError as error:
        if is_being_cancelled():
            raise
        message = "the token provider waits for what somebody else cancelled"
        raise TransportError(message, sent=False) from error
    except Exception as error:
        message = f"the token provider failed with {type(error).__name__}"
        raise TransportError(message, sent=False) from error
    return _checked_token("the token provider's answer", token)


async def _ask(provider: TokenProvider) -> Secret:
    """What a provider answers, hidden at once."""
    provided: object = provider()
    return Secret(await provided if isawaitable(provided) else provided)


def _checked_token(field: str, given: Secret) -> Secret:
    """The token without white space around it; neither message nor frame holds it."""
    token = Secret(given.reveal().strip())
    if not _is_sendable(token):
        raise ConfigError(
            f"{field} is not usable; allowed: printable ASCII text without spaces and quotes, "
            "or an async function that returns it"
        )
    return token


def _is_sendable(token: Secret) -> bool:
    """Whether it can stand in a header, and be found in what a server sends back.

    Quotes and backslashes are in no bearer token (RFC 6750), and would look different wherever text
    is quoted, so that `Secret.removed_from` could miss them.
    """
    text = token.reveal()
    return text.isascii() and text.isprintable() and bool(text) and not set(text) & set(" \"'\\")
