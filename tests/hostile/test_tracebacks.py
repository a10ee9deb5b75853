"""Search for secrets in what error trackers and notebooks make of a traceback.

These tools show variables, and the values of names, attributes and subscripts in each line. The
secrets are those of the module `given`.
"""

import asyncio
import gc
import json
import warnings
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from starlette.applications import Starlette

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    RetryPolicy,
    SpotBillingClient,
    TlsConfig,
)
from spot_billing_async._core.auth.secret import Hidden
from spot_billing_async.fastapi import add_error_handlers, client_of, spot_billing_lifespan
from tests.hostile import given
from tests.hostile.everything import Everything, attempt, capturing
from tests.hostile.parties import Files, proxying
from tests.hostile.parties import client_of as tls_client_of
from tests.hostile.test_secrets import serving as serving_bytes
from tests.support import http, serve_streams

sentry_sdk = pytest.importorskip("sentry_sdk")
stackprinter = pytest.importorskip("stackprinter")

ONCE = ClientConfig(retry=RetryPolicy(max_attempts=1))


def sentry_text(error: BaseException) -> str:
    """Return the event that Sentry would send, with variables and evaluated expressions."""
    pure_eval = import_module("sentry_sdk.integrations.pure_eval")
    events: list[Any] = []

    class Kept(sentry_sdk.Transport):  # type: ignore[misc, name-defined]  # not installed for mypy
        def capture_envelope(self, envelope: Any) -> None:
            events.append(envelope.get_event())

    with warnings.catch_warnings():
        # Without this option, a scrubber would hide what a frame shows; its successor is not in all
        # versions.
        warnings.simplefilter("ignore", DeprecationWarning)
        client = sentry_sdk.Client(
            dsn="http://key@127.0.0.1:9/1",
            transport=Kept,
            default_integrations=False,
            integrations=[pure_eval.PureEvalIntegration()],
            max_value_length=100_000,
            send_default_pii=True,
        )
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        sentry_sdk.capture_exception(error)
    (event,) = events
    return json.dumps(event, default=repr)


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield an error as Sentry, stackprinter and, where it is installed, IPython show it."""
    yield sentry_text(error)
    yield stackprinter.format(
        error, show_vals="all", truncate_vals=100_000, source_lines=50, suppressed_paths=None
    )
    if find_spec("IPython") is not None:
        shown = import_module("IPython.core.ultratb").VerboseTB(include_vars=True)
        yield shown.text(type(error), error, error.__traceback__)


def assert_hidden(kept: Everything) -> None:
    """Assert that no tool shows a secret of the errors that were kept."""
    for error in kept.errors:
        kept.texts += texts_of(error)
    for secret in given.secrets():
        kept.assert_without(secret)


def test_these_tools_show_expressions() -> None:
    """A token in an attribute of a line is found, so that the search below means something."""

    class Holder:
        token = given.secrets()[0]

        def __repr__(self) -> str:
            return "Holder()"

        def use(self) -> None:
            int(self.token)

    with pytest.raises(ValueError, match="invalid literal") as caught:
        Holder().use()
    texts = list(texts_of(caught.value))
    assert [given.secrets()[0] in text for text in texts] == [True] * len(texts)


async def fail(token: str) -> str:
    del token
    raise OSError("vault is down")


async def provide_twice(token: str) -> str:
    hidden = Hidden(token)
    del token
    return f"{hidden.reveal()} {hidden.reveal()}"  # no header can hold a space


@pytest.mark.parametrize("name", given.NAMES)
async def test_an_app_that_does_not_start_shows_no_secret(name: str) -> None:
    """A lifespan whose client cannot be made shows none of its arguments."""
    lifespan = spot_billing_lifespan(**given.bad_arguments(name))
    with capturing() as kept:
        for make in (
            lambda: lifespan(Starlette()).__aenter__(),
            lambda: SpotBillingClient(**given.bad_arguments(name)),
            lambda: spot_billing_lifespan(7, **given.bad_arguments(name)),  # type: ignore[arg-type]  # what is tested
        ):
            assert isinstance(await attempt(kept, make), ConfigError | TypeError)
    assert_hidden(kept)


@pytest.mark.parametrize("provide", [fail, provide_twice])
async def test_a_partial_that_provides_a_token_is_not_shown(
    provide: Callable[[str], Awaitable[str]],
) -> None:
    """A failing provider made by `functools.partial` does not show its arguments."""
    app = Starlette()
    lifespan = spot_billing_lifespan(
        token=given.provider_of(provide), base_url="http://127.0.0.1:9", config=ONCE
    )
    with capturing() as kept:
        async with lifespan(app):
            client = client_of(app)
            kept.keep(client, client._session, client._session._credential, client._shared)
            assert await attempt(kept, lambda: client.costs.get("a"))
            view = client.with_token(given.provider_of(provide), tenant="acme")
            assert await attempt(kept, view.accounts.list)
            with pytest.raises(ConfigError) as caught:
                client.with_token(given.provider_of(provide), tenant="")
            kept.keep_error(caught.value)
    assert_hidden(kept)


@pytest.mark.parametrize("name", ["401", "500", "garbage", "cut off", "nothing"])
async def test_a_failed_call_shows_no_secret(name: str) -> None:
    """An error of a call, raised in an app, shows neither its token nor a password."""
    app = Starlette()
    add_error_handlers(app)
    with capturing() as kept:
        async with serving_bytes(given.response(name)) as (base_url, _):
            lifespan = spot_billing_lifespan(
                token=given.secrets()[0], base_url=base_url, config=ONCE
            )
            async with lifespan(app):
                await attempt(kept, lambda: client_of(app).costs.get("a"))
    assert len(kept.errors) == 1
    assert_hidden(kept)


async def test_warnings_of_aiohttp_do_not_show_the_proxys_password(files: Files) -> None:
    """Connections that were never closed are reported without the credentials of the proxy."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(b"the rest never comes", length=9999))
        await reader.read()

    loop = asyncio.get_running_loop()
    with capturing() as kept:
        loop.set_exception_handler(lambda _, context: kept.texts.append(repr(context)))
        async with serve_streams(respond, files.server()) as port, proxying() as (address, seen):
            client = tls_client_of(
                port,
                tls=TlsConfig(ca_file=files.ca_file),
                proxy=given.proxy_url(address),
                deadline_s=0.5,
            )
            await client.__aenter__()
            await attempt(kept, lambda: client.costs.get("a"))
            transport, session = client._shared.transport, client._shared.transport.session
            assert session is not None
            response = await session.get(
                f"https://127.0.0.1:{port}/", proxy_headers=transport._proxy_headers()
            )
            connection, response._connection = response.connection, None
            kept.keep(session, session.connector, response, transport, connection, client)
            del response, connection  # without a release
            gc.collect()
            await client.__aexit__(None, None, None)
        loop.set_exception_handler(None)
    basic = b64encode(f"u:{given.secrets()[1]}".encode()).decode()
    assert [f"Proxy-Authorization: Basic {basic}" in head for head in seen.heads] == [True, True]
    shown = "\n".join(kept.texts)
    assert "Unclosed connection Connection<ConnectionKey(host='127.0.0.1'" in shown
    assert f"proxy=URL('http://{address}')" in shown
    kept.assert_without(basic)
    assert_hidden(kept)
