"""Emulator for tests of applications that use this package, async or not (extra: emulator).

pytest provides it as the fixture `spot_billing_emulator`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

from anyio.from_thread import start_blocking_portal

from spot_billing_async.emulator import Emulator


class ClientArguments(TypedDict):
    """Arguments that connect a `SpotBillingClient` to an emulator."""

    token: str
    base_url: str


@dataclass(frozen=True, kw_only=True)
class RunningEmulator:
    """Emulator that runs in a thread of its own, with its own event loop.

    Attributes:
        base_url: the URL of the server.
        token: the only bearer token that is accepted.
        account_ids: the ids of the accounts that have costs.
        emulator: the `Emulator` itself, which counts its requests.
    """

    base_url: str
    token: str
    account_ids: tuple[str, ...]
    emulator: Emulator

    @property
    def client_arguments(self) -> ClientArguments:
        """Arguments that connect a `SpotBillingClient` or a FastAPI lifespan to the emulator."""
        return {"token": self.token, "base_url": self.base_url}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that connect a client without arguments to the emulator."""
        return {"SPOTINST_TOKEN": self.token, "SPOTINST_BASE_URL": self.base_url}


@contextmanager
def running_emulator(**options: Any) -> Iterator[RunningEmulator]:  # noqa: ANN401  Emulator types them
    """Run an emulator inside a `with` block.

    Args:
        **options: arguments of `Emulator`. By default it serves sample data: three clouds, 24
            accounts, all days of 2024 and 2025.

    Raises:
        ValueError: an option is invalid, or a file cannot be served.
    """
    emulator = Emulator(**options)
    # In a thread: tests without an event loop can use it, and no test can block its loop.
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(emulator):
        yield RunningEmulator(
            base_url=emulator.base_url,
            token=emulator.token,
            account_ids=tuple(portal.call(emulator.account_ids)),
            emulator=emulator,
        )
