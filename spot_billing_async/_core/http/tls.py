"""TLS and proxy of the connection to the server."""

import netrc
import os
import ssl
from base64 import b64encode
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from msgspec.structs import force_setattr

from spot_billing_async._core.auth.secret import Secret, hidden, masked
from spot_billing_async.errors import ConfigError

PemFile = str | os.PathLike[str]


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files that verify the server and authenticate the client.

    The server's certificate and name are always verified; nothing switches that off. The files are
    read each time the client is entered, and a bad one is refused there.

    Attributes:
        ca_file: certificates of the authorities to trust instead of the system's; None trusts the
            system's.
        client_cert_file: the client's certificate, followed by the intermediate ones; None sends
            none.
        client_key_file: private key of that certificate; None if `client_cert_file` holds it too.
        client_key_password: password of an encrypted key, kept as a `Secret` that hides it.
    """

    ca_file: PemFile | None = None
    client_cert_file: PemFile | None = None
    client_key_file: PemFile | None = None
    client_key_password: str | Secret | None = None

    def __post_init__(self) -> None:
        # The password comes first: a later error's traceback shows the fields of this value.
        if self.client_key_password is not None:
            force_setattr(self, "client_key_password", hidden(self.client_key_password))
        for name in ("ca_file", "client_cert_file", "client_key_file"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str | os.PathLike):
                raise ConfigError(f"tls.{name} must be a path or None, got {value!r}")
        has_key = self.client_key_file is not None or self.client_key_password is not None
        if has_key and self.client_cert_file is None:
            raise ConfigError("tls.client_cert_file must be a path if a key is given, got None")


def check_tls(tls: object) -> None:
    """Raise `ConfigError` unless `tls` is a TlsConfig, or an SSLContext that verifies servers."""
    if isinstance(tls, TlsConfig):
        return
    if not isinstance(tls, ssl.SSLContext):
        raise ConfigError(f"tls must be a TlsConfig or an SSLContext, got {tls!r}")
    if tls.verify_mode is not ssl.CERT_REQUIRED or not tls.check_hostname:
        raise ConfigError(
            "tls must be an SSLContext with verify_mode=CERT_REQUIRED and check_hostname=True, "
            "got one that does not verify the server"
        )


def checked_proxy(field: str, url: str | Secret) -> Secret:
    """Return the URL of an http proxy as a secret that shows scheme, host and port."""
    proxy = hidden(url)
    parts = masked(proxy, {"http"})
    if parts is None or parts.path not in {"", "/"}:
        raise ConfigError(
            f"{field} must be http://[user:password@]host[:port]; the value is not shown"
        )
    return Secret(proxy.reveal(), parts._replace(path="").geturl())


class Network(NamedTuple):
    """TLS context and proxy; None verifies by the system's authorities and connects directly."""

    context: ssl.SSLContext | None = None
    proxy_url: str | None = None  # without the credentials: aiohttp's warnings show it
    proxy_login: Secret | None = None  # header


def load_network(
    tls: TlsConfig | ssl.SSLContext, proxy: str | Secret | None, base_url: str, *, trust_env: bool
) -> Network:
    """Read the files and the environment, which blocks; raise `ConfigError` for a bad one."""
    context = tls if isinstance(tls, ssl.SSLContext) else _context(tls)
    if proxy is not None:
        return Network(context, *_without_login(hidden(proxy)))
    server = urlsplit(base_url)
    # Only for https: over plain http the proxy would see the token.
    if trust_env and server.scheme == "https" and not proxy_bypass(server.netloc):
        found = Secret(getproxies().get("https"))
        if len(found):
            url, login = _without_login(checked_proxy("HTTPS_PROXY", found))
            return Network(context, url, login or _netrc_login(url))
    return Network(context)


def _without_login(proxy: Secret) -> tuple[str, Secret | None]:
    credentials, at, host = urlsplit(proxy.reveal()).netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    return f"http://{host}", _login(unquote_to_bytes(f"{user}:{password}")) if at else None


def _context(tls: TlsConfig) -> ssl.SSLContext | None:
    if tls == TlsConfig():
        return None
    fault = f"tls.ca_file must be a PEM file of certificates, got {str(tls.ca_file)!r}"
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.set_alpn_protocols(["http/1.1"])
        if tls.client_cert_file is not None:
            given = (tls.client_cert_file, tls.client_key_file)
            files = " and ".join(repr(str(file)) for file in given if file is not None)
            fault = (
                "tls.client_cert_file and tls.client_key_file must be PEM files of a certificate "
                "and its key, with the password if the key is encrypted (tls.client_key_password), "
                f"got {files}"
            )
            # Never None: OpenSSL would ask on the terminal for the password of an encrypted key.
            password = hidden(tls.client_key_password or "")
            context.load_cert_chain(tls.client_cert_file, tls.client_key_file, password.reveal)
    except (OSError, ValueError) as error:
        # In the words of the system or of OpenSSL.
        problem = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise ConfigError(f"{fault}: {problem}") from None
    return context


def _netrc_login(proxy_url: str) -> Secret | None:
    """Return the login of a proxy's host in netrc (`NETRC`, else `~/.netrc`)."""
    try:
        host = urlsplit(proxy_url).hostname or ""
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
        # Nothing is raised from here on, as the variable holds the password.
        return None if entry is None else _login(f"{entry[0]}:{entry[2] or ''}".encode())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, netrc.NetrcParseError) as error:
        problem = type(error).__name__
    # Raised outside the except block, and without a cause: a parser's error quotes the file.
    raise ConfigError(f"netrc cannot be read: {problem}")


def _login(credentials: bytes) -> Secret:
    return Secret(f"Basic {b64encode(credentials).decode()}")
