"""Building of requests: an operation and its parameters become a URL and a body."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from spot_billing_async._core.protocol.operations import Operation

# Accounts, days and groupings repeat from call to call, so most values are found in the cache.
_encoded = lru_cache(maxsize=4096)(partial(quote, safe=""))


class Request(NamedTuple):
    """Request without its bearer token, which the transport adds as a header."""

    operation: Operation
    base_url: str  # scheme, host, port and path prefix
    path: str  # below `base_url`, percent-encoded
    query: str  # percent-encoded; "" for none
    parameters: Mapping[str, str | None]  # of the query before encoding; None for those left out
    body: bytes | None  # JSON

    @property
    def url(self) -> str:
        """Full URL."""
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
    """Build a request from the path template of an operation, or its override.

    Ids and values are percent-encoded, so none can change the URL's structure. Parameters that are
    None are left out. The body is plain data to send as JSON; None sends no body.
    """
    if path_ids:
        path = path.format(**{name: _encoded(value) for name, value in path_ids.items()})
    present = [f"{name}={_encoded(value)}" for name, value in query.items() if value is not None]
    content = None if body is None else msgspec.json.encode(body)
    return Request(operation, base_url, path, "&".join(present), query, content)
