"""Carried out of spot_billing_async/wire.py."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from spot_billing_async._core.protocol.operations import Operation

_is_unreserved = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


class Request(NamedTuple):
    """What is sent, but for the bearer token: that is the session's.

    Attributes:
        operation: what is asked for.
        base_url: where.
        path: what follows it, percent-encoded.
        query: the query, percent-encoded; "" for none.
        body: what is sent; None for nothing.
    """

    operation: Operation
    base_url: str
    path: str
    query: str
    body: bytes | None

    @property
    def url(self) -> str:
        """All of the URL."""
        return f"{self.base_url}{self.path}{'?' if self.query else ''}{self.query}"


def build_request(
    operation: Operation,
    base_url: str,
    path: str,
    *,
    path_ids: Mapping[str, str],
    query: Mapping[str, str | None],
    body: Mapping[str, object] | None = None,
) -> Request:
    """Put a request together; every id and value is percent-encoded, so none can change its shape.

    Args:
        operation: what is asked for.
        base_url: a checked base URL.
        path: the operation's path, or what overrides it.
        path_ids: values of the path's parameters.
        query: query parameters; those that are None are left out.
        body: plain data to send as JSON; None sends no body.
    """
    if path_ids:
        path = path.format(**{name: _encoded(value) for name, value in path_ids.items()})
    present = [f"{name}={_encoded(value)}" for name, value in query.items() if value is not None]
    content = None if body is None else msgspec.json.encode(body)
    return Request(operation, base_url, path, "&".join(present), content)


@lru_cache(maxsize=4096)  # accounts, days and groupings come again and again
def _encoded(value: str) -> str:
    """A value as a part of a URL; most are of characters that stand for themselves."""
    return value if _is_unreserved(value) else quote(value, safe="")
