"""Check of the Host header on loopback, against DNS rebinding. Without I/O.

A web page may point a name of its own at 127.0.0.1, and then send requests that the browser takes
for requests to the page's own site. Such a request names the page's host, so a server that listens
on loopback addresses only refuses names that are not its own.
"""

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"\[(?P<ipv6>[^\[\]]+)\](:\d*)?|(?P<name>[^\[\]:]+)(:\d*)?")


def is_loopback(address: str) -> bool:
    """Return True for `localhost`, a name below it, and a loopback address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address == "localhost" or address.endswith(".localhost")
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def is_host(value: object) -> bool:
    """Return True for a host name without a port, or an address without brackets."""
    if not isinstance(value, str):
        return False
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return re.fullmatch(r"[^\[\]:/@\s]+", value) is not None
    return True


def normalized(host: str) -> str:
    """Return a host name or address in the form in which it is compared."""
    return host.lower().removesuffix(".")


def is_allowed_host(header: str, names: Iterable[str]) -> bool:
    """Return True if a Host header denotes a loopback address or one of the normalized `names`."""
    match = _HOST.fullmatch(header)
    if match is None:
        return False
    host = normalized(match["ipv6"] or match["name"])
    return is_loopback(host) or host in names
