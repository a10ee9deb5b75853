"""The table of operations, and overrides of their paths."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from spot_billing_async import ClientConfig, ConfigError
from spot_billing_async._core.protocol.operations import OPERATIONS


def test_the_operations_are_the_contracts(shared: Path) -> None:
    """Ids, methods and paths of all eleven operations are those of the contract."""
    contract = (shared / "api" / "spot-billing-engine-openapi.yml").read_text()
    stated = {
        (details["operationId"], method.upper(), path)
        for path, methods in yaml.safe_load(contract)["paths"].items()
        for method, details in methods.items()
    }
    ours = {(o.operation_id, o.method, o.path) for o in OPERATIONS.values()}
    assert ours == stated
    assert len(ours) == 11


@pytest.mark.parametrize(
    "overrides",
    [
        {"getCosts": "/x"},
        {"getCostAnalysis": "cost"},
        {"getCostAnalysis": "/cost?x=1"},
        {"getCostAnalysis": "/cost/{accountId}"},
        {"getAccountFamily": "/family"},
        {"getAccountFamily": "/family/{familyId}/{familyId}"},
        {"getAccountFamily": "/family/{familyId"},
        {"getAccountFamily": "/family/{familyId!r}"},
        {"getAccountFamily": 7},
        {7: "/family"},
        ["getAccountFamily"],
    ],
)
def test_a_path_override_must_fit_its_operation(overrides: Any) -> None:
    """Unknown operations, queries in paths and parameters outside the contract are refused."""
    with pytest.raises(ConfigError, match="path_overrides"):
        ClientConfig(path_overrides=overrides)
