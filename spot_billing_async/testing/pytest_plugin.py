"""Pytest fixture of the emulator, for tests of applications (extra: emulator).

pytest imports this module in every run. So it is installed next to the package, as
`spot_billing_pytest`, and imports nothing of the package until the fixture is used.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from spot_billing_async.testing import RunningEmulator


@pytest.fixture
def spot_billing_emulator_options() -> Mapping[str, Any]:
    """Return arguments of `Emulator`: by default none.

    Override this fixture to set some, such as `{"rate_limit": "100/60s"}`.
    """
    return {}


@pytest.fixture
def spot_billing_emulator(
    spot_billing_emulator_options: Mapping[str, Any],
) -> "Iterator[RunningEmulator]":
    """Run an emulator of the Billing Engine API for one test, which may be async or not."""
    from spot_billing_async.testing import running_emulator  # noqa: PLC0415  see above

    with running_emulator(**spot_billing_emulator_options) as server:
        yield server
