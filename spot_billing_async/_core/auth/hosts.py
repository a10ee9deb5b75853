"""Hosts of URLs, read as the connection will read them. Pure."""

import re
from ipaddress import ip_address

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$)(?:{_LABEL}\.)*{_LABEL}\.?", re.IGNORECASE)
# The system maps such a name to an address; aiohttp refuses most of them when it connects.
_NUMBERS = re.compile(r"(?:(?:\d+|0x[0-9a-f]*)(?:\.|$))+", re.IGNORECASE)


def is_host(host: str) -> bool:
    """Return whether a URL's host is an address in its usual form, or a name of valid labels."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return _NAME.fullmatch(host) is not None and _NUMBERS.fullmatch(host) is None


def is_loopback(host: str) -> bool:
    """Return whether connections to a host stay on this machine.

    Of names, only `localhost` is certain: name servers are asked for `localhost.` and for
    `127.0.0.1.example.com`.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
