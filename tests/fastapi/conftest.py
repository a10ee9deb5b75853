"""Fixtures: an emulator as the API behind the apps, and the arguments of a client for it."""

from collections.abc import AsyncIterator

import pytest

from spot_billing_async.emulator import Emulator
from spot_billing_async.testing import ClientArguments

TOKEN = "4f5d0b7ad1e94563-not-a-real-token"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Run an emulator that serves its sample of 24 accounts."""
    async with Emulator(token=TOKEN) as server:
        yield server


@pytest.fixture
def arguments(emulator: Emulator) -> ClientArguments:
    """Return the arguments of a client for the emulator."""
    return ClientArguments(token=TOKEN, base_url=emulator.base_url)
