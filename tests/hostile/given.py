"""Secrets of `test_tracebacks`, in a module of their own that has no frame in a traceback.

Sentry evaluates all names of a frame's module that stand in expressions, so a test that named its
token would show it itself.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from spot_billing_async import ClientConfig
from tests.hostile.test_secrets import RESPONSES, TOKEN

PASSWORD = "c70e44d1-not-a-real-password"
OTHER_PASSWORD = "51c09be7-also-an-invented-password"

_ARGUMENTS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "token": lambda: {"token": f"{TOKEN} x"},
    "base_url": lambda: {"token": TOKEN, "base_url": "ftp://x"},
    "password": lambda: {"token": TOKEN, "base_url": f"https//u:{OTHER_PASSWORD}@api.example"},
    "account_id": lambda: {"token": TOKEN, "account_id": "\n"},
    "hook": lambda: {"token": TOKEN, "hook": 7},
    "unknown": lambda: {"token": TOKEN, "nonsense": 7},
    "tenant": lambda: {"token": TOKEN, "tenant": 7},
    "partial": lambda: {"token": partial(len, TOKEN), "account_id": "\n"},
    "proxy": lambda: {
        "token": TOKEN,
        "base_url": "http://127.0.0.1:9",
        "config": ClientConfig(proxy=f"http://u:{PASSWORD}@proxy.example"),
    },
}
NAMES = tuple(_ARGUMENTS)


def secrets() -> tuple[str, ...]:
    """Return all secrets."""
    return TOKEN, PASSWORD, OTHER_PASSWORD


def bad_arguments(name: str) -> Mapping[str, Any]:
    """Return arguments that a client refuses."""
    return _ARGUMENTS[name]()


def provider_of(provide: Callable[[str], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    """Return a partial of a function and the token."""
    return partial(provide, TOKEN)


def proxy_url(address: str) -> str:
    """Return the URL of a proxy with a password."""
    return f"http://u:{PASSWORD}@{address}"


def response(name: str) -> bytes:
    """Return a response of `test_secrets` that echoes the token."""
    return RESPONSES[name]
