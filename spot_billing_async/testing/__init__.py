"""The emulator for tests of what uses this package, be they async or not (extra: emulator).

With pytest it comes as the fixture `spot_billing_emulator`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

from anyio.from_thread import start_blocking_portal

from spot_billing_async.emulator import Emulator


class ClientArguments(TypedDict):
    """Arguments of a `SpotBillingClient` that lead to an emulator."""

    token: str
    base_url: str


@dataclass(frozen=True, kw_only=True)
class RunningEmulator:
    """An emulator that runs in a thread of its own, with its own event loop.

    Attributes:
        base_url: where it is.
        token: the one bearer token that it accepts.
        account_ids: the accounts that it has costs of.
        emulator: the `Emulator` itself, which counts its requests.
    """

    base_url: str
    token: str
    account_ids: tuple[str, ...]
    emulator: Emulator

    @property
    def client_arguments(self) -> ClientArguments:
        """Arguments of a `SpotBillingClient`, or of a lifespan, that lead to it."""
        return {"token": self.token, "base_url": self.base_url}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that lead a client without arguments to it."""
        return {"SPOTINST_TOKEN": self.token, "SPOTINST_BASE_URL": self.base_url}


@contextmanager
def running_emulator(**options: Any) -> Iterator[RunningEmulator]:  # noqa: ANN401  as Emulator has them
    """Run an emulator for as long as a `with` block lasts.

    Args:
        **options: as for `Emulator`. By default it serves its own sample: three clouds, 24
            accounts, the days of 2024 and 2025.

    Raises:
        ValueError: an option is out of its range, or a file cannot be served.
    """
    emulator = Emulator(**options)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(emulator):
        yield RunningEmulator(
            base_url=emulator.base_url,
            token=emulator.token,
            account_ids=tuple(portal.call(emulator.account_ids)),
            emulator=emulator,
        )
