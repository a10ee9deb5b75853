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


def test_only_a_post_is_not_sent_twice() -> None:
    """Every method of the contract but POST has the effect of one request when sent twice."""
    not_idempotent = {o.method for o in OPERATIONS.values() if not o.idempotent}
    idempotent = {o.method for o in OPERATIONS.values() if o.idempotent}
    assert (not_idempotent, idempotent) == ({"POST"}, {"GET", "PUT", "DELETE"})
    assert all(o.operation_id == name for name, o in OPERATIONS.items())


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
        {"getAccountFamily": "/family/{familyId:>9}"},
        {"getAccountFamily": "/family/{familyId}\\"},
        {"getAccountFamily": "/family/{familyId}#x"},
        {"getAccountFamily": "/fam ily/{familyId}"},
        {"getAccountFamily": "/family\u00e9/{familyId}"},
        {"getAccountFamily": "/family\r\n/{familyId}"},
        {"getAccountFamily": 7},
        {7: "/family"},
        ["getAccountFamily"],
    ],
)
def test_a_path_override_must_fit_its_operation(overrides: Any) -> None:
    """Unknown operations, queries in paths and parameters outside the contract are refused."""
    with pytest.raises(ConfigError, match="path_overrides"):
        ClientConfig(path_overrides=overrides)
