"""A fixture of pytest's: the emulator, for tests of what uses this package (extra: emulator).

pytest imports this in every run, so it is installed beside the package, as `spot_billing_pytest`,
and imports of it nothing until the fixture is used.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from spot_billing_async.testing import RunningEmulator


@pytest.fixture
def spot_billing_emulator_options() -> Mapping[str, Any]:
    """Arguments of `Emulator`, such as `{"rate_limit": "100/60s"}`: override this to set them."""
    return {}


@pytest.fixture
def spot_billing_emulator(
    spot_billing_emulator_options: Mapping[str, Any],
) -> "Iterator[RunningEmulator]":
    """The Billing Engine API, emulated for one test: async of any kind, or not async at all."""
    from spot_billing_async.testing import running_emulator  # noqa: PLC0415  see above

    with running_emulator(**spot_billing_emulator_options) as server:
        yield server
