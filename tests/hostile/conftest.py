"""Certificate authority for the TLS tests."""

import pytest

from tests.hostile.parties import Files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Certificates of one authority, as files."""
    return Files(tmp_path_factory.mktemp("tls"))
