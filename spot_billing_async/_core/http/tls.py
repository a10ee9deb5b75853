"""The way to the server: whom to trust, what to show it, and through which proxy.

What is read here, from files and the environment, is read once, as the client is entered. It blocks
and belongs in a thread.
"""

import netrc
import os
import ssl
from typing import NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from spot_billing_async._core.auth.secret import Secret, hidden, masked
from spot_billing_async.errors import ConfigError

PemFile = str | os.PathLike[str]


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is verified, and how the client shows who it is, by files in PEM.

    The server's certificate and name are always verified: there is no switch for that. The files
    are read each time the client is entered, which is where a bad one is refused.

    Attributes:
        ca_file: certificates of the authorities to trust in place of the system's; None trusts
            those of the system.
        client_cert_file: the client's certificate, followed by those between it and its authority;
            None shows none.
        client_key_file: its private key; None where `client_cert_file` holds it too.
        client_key_password: of an encrypted key. It is kept as a `Secret`, which hides it.

    Raises:
        ConfigError: a value is of no use; names the field, the value and what is allowed.
    """

    ca_file: PemFile | None = None
    client_cert_file: PemFile | None = None
    client_key_file: PemFile | None = None
    client_key_password: str | Secret | None = None

    def __post_init__(self) -> None:
        if self.client_key_password is not None:
            msgspec.structs.force_setattr(
                self, "client_key_password", hidden(self.client_key_password)
            )
        for name in ("ca_file", "client_cert_file", "client_key_file"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str | os.PathLike):
                raise ConfigError(f"tls.{name}: {value!r} is not allowed; allowed: a path, or None")
        has_key = self.client_key_file is not None or self.client_key_password is not None
        if has_key and self.client_cert_file is None:
            raise ConfigError(
                "tls.client_cert_file: None is not allowed where a key is given; allowed: a path"
            )


def check_tls(tls: object) -> None:
    """Refuse what does not say how to verify a server.

    Raises:
        ConfigError: it is neither a TlsConfig nor an SSLContext that verifies.
    """
    if isinstance(tls, TlsConfig):
        return
    if not isinstance(tls, ssl.SSLContext):
        raise ConfigError(f"tls: {tls!r} is not allowed; allowed: a TlsConfig or an SSLContext")
    if tls.verify_mode is not ssl.CERT_REQUIRED or not tls.check_hostname:
        raise ConfigError(
            "tls: the SSLContext does not verify the server; allowed: one with "
            "verify_mode=CERT_REQUIRED and check_hostname=True"
        )


def checked_proxy(field: str, url: str | Secret) -> Secret:
    """A proxy's URL, hidden but for where it is.

    Raises:
        ConfigError: it is no URL of an http proxy. The value is not named: it may hold a password.
    """
    proxy = hidden(url)
    place = masked(proxy, {"http"})
    if place is None or place.path not in {"", "/"}:
        raise ConfigError(
            f"{field}: the URL is not usable; allowed: http://[user:password@]host[:port]"
        )
    return Secret(proxy.reveal(), place._replace(path="").geturl())


class Network(NamedTuple):
    """The way to one server.

    Attributes:
        context: None verifies by the system's authorities.
        proxy: URL; None goes straight.
    """

    context: ssl.SSLContext | None = None
    proxy: Secret | None = None


def load(
    tls: TlsConfig | ssl.SSLContext, proxy: str | Secret | None, base_url: str, *, trust_env: bool
) -> Network:
    """Read the files and the environment. It blocks.

    Raises:
        ConfigError: a file, or what the environment names, cannot be used.
    """
    context = tls if isinstance(tls, ssl.SSLContext) else _context(tls)
    if proxy is not None:
        return Network(context, hidden(proxy))
    return Network(context, _environment_proxy(base_url) if trust_env else None)


def _context(tls: TlsConfig) -> ssl.SSLContext | None:
    if tls == TlsConfig():
        return None
    context = ssl.create_default_context() if tls.ca_file is None else _trusting(tls.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_cert_file is not None:
        _show_certificate(context, tls.client_cert_file, tls)
    return context


def _trusting(ca_file: PemFile) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        problem = _problem(error)
    raise ConfigError(
        f"tls.ca_file: {str(ca_file)!r} cannot be used: {problem}; "
        "allowed: a PEM file of certificates"
    )


def _show_certificate(context: ssl.SSLContext, cert_file: PemFile, tls: TlsConfig) -> None:
    password = tls.client_key_password
    try:
        # Never None: OpenSSL would ask on the terminal for the password of an encrypted key.
        context.load_cert_chain(
            cert_file, tls.client_key_file, hidden("" if password is None else password).reveal
        )
    except (OSError, ValueError) as error:
        problem = _problem(error)
    else:
        return
    key = "" if tls.client_key_file is None else f", tls.client_key_file: {tls.client_key_file!r}"
    raise ConfigError(
        f"tls.client_cert_file: {str(cert_file)!r}{key} cannot be used: {problem}; allowed: PEM "
        "files of a certificate and its key, and the password of an encrypted key"
    )


def _problem(error: Exception) -> str:
    """What is wrong with a file, in the system's words or OpenSSL's."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _environment_proxy(base_url: str) -> Secret | None:
    """What `HTTPS_PROXY` says, unless `NO_PROXY` excludes the server.

    It serves https alone: over plain http the proxy would be shown the token.
    """
    server = urlsplit(base_url)
    if server.scheme != "https" or proxy_bypass(server.netloc):
        return None
    proxy = Secret(getproxies().get("https"))
    return _with_netrc(checked_proxy("HTTPS_PROXY", proxy)) if len(proxy) else None


def _with_netrc(proxy: Secret) -> Secret:
    """A proxy with the credentials that netrc (`NETRC`, else `~/.netrc`) has for its host."""
    try:
        return _from_netrc(proxy)
    except FileNotFoundError:
        return proxy
    except (OSError, ValueError, netrc.NetrcParseError) as error:
        problem = type(error).__name__
    # No cause, and no word of it: a parser's error quotes what it met.
    raise ConfigError(f"netrc: the file cannot be read: {problem}")


def _from_netrc(proxy: Secret) -> Secret:
    parts = urlsplit(proxy.reveal())
    entry = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname or "")
    if entry is None or parts.username is not None:
        return proxy
    login, _, password = entry
    credentials = f"{quote(login or '', safe='')}:{quote(password or '', safe='')}"
    return checked_proxy("netrc", f"http://{credentials}@{parts.netloc}")
