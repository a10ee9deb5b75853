"""The emulator as a fixture of pytest's, for tests of what uses this package (extra: emulator).

pytest loads this with every run, so all that the fixture needs is imported when it is first used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from spot_billing_async.emulator import Emulator


@dataclass(frozen=True, kw_only=True)
class SpotBillingEmulator:
    """An emulator that runs: the API on a loopback socket.

    Attributes:
        base_url: where it is.
        token: the one bearer token that it accepts.
        account_ids: the accounts that it has costs of.
        emulator: the `spot_billing_async.emulator.Emulator` itself, which counts its requests. It
            runs in a thread of its own, with its own event loop.
    """

    base_url: str
    token: str
    account_ids: tuple[str, ...]
    emulator: "Emulator"

    @property
    def client_arguments(self) -> dict[str, str]:
        """Arguments of a `SpotBillingClient`, or of a lifespan, that leads to it."""
        return {"token": self.token, "base_url": self.base_url}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that lead a client without arguments to it."""
        return {"SPOTINST_TOKEN": self.token, "SPOTINST_BASE_URL": self.base_url}


@pytest.fixture
def spot_billing_emulator_options() -> Mapping[str, Any]:
    """Arguments of `Emulator`, such as `{"rate_limit": "100/60s"}`: override this to set them.

    By default it serves its own sample: three clouds, 24 accounts, the days of 2024 and 2025.
    """
    return {}


@pytest.fixture
def spot_billing_emulator(
    spot_billing_emulator_options: Mapping[str, Any],
) -> Iterator[SpotBillingEmulator]:
    """The Billing Engine API, emulated for one test: async of any kind, or not async at all."""
    # Late: see above. The emulator's own import says which extra it needs.
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415  see above

    from spot_billing_async.emulator import Emulator  # noqa: PLC0415  see above

    emulator = Emulator(**spot_billing_emulator_options)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(emulator) as server,
    ):
        yield SpotBillingEmulator(
            base_url=server.base_url,
            token=server.token,
            account_ids=tuple(portal.call(server.account_ids)),
            emulator=server,
        )
