"""An authority for the tests of TLS."""

import pytest

from tests.hostile.parties import Files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))
