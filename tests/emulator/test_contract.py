"""Conformance of a running emulator to the contract, tested by Schemathesis in a subprocess.

The check for undocumented status codes is off, since the contract documents no status except 200.

The contract requires hardly any field, so that the body `{}` is valid by its schema. The emulator
still refuses with a 400: a setup without a billing account, a family without a name, an empty
account id, and a range that ends before it begins. So there are two runs: one with the contract as
it is, in which operations with such a rule may answer valid data with a 400; and one with these
rules added to the contract, in which they may not.
"""

import asyncio
import copy
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from spot_billing_async.emulator import Emulator

CONTRACT = (
    Path(__file__).resolve().parents[2].parent
    / "shared"
    / "api"
    / "spot-billing-engine-openapi.yml"
)

pytestmark = pytest.mark.skipif(
    not CONTRACT.is_file(), reason="the contract is not next to the checkout"
)

EXAMPLES = settings().max_examples // 2  # of the profile: 50, thorough 250
"""Generated cases per operation in the fuzzing phase; the coverage phase has its own number."""

STATUSES_WITH_400 = '["2xx", "400", "404", "409"]'
"""Allowed statuses for valid data of operations with rules that the contract lacks."""

OPERATIONS_WITH_UNDOCUMENTED_RULES = (
    "getCostAnalysis",
    "listBillingEngineAccounts",
    "setupBillingEngine",
    "validateBillingEngineSetup",
    "setupCostIntelligence",
    "validateCostIntelligenceSetup",
    "createAccountFamily",
    "updateAccountFamily",
)

# A schema cannot express that one date must not be after another.
OPERATIONS_WITH_RULES_BEYOND_SCHEMAS = ("getCostAnalysis",)

REQUIRED_FIELDS = {
    "BillingEngineSetupRequest": ("cloudProvider", "billingAccountId", "bucketName"),
    "BillingEngineValidationRequest": ("billingAccountId",),
    "CostIntelligenceSetupRequest": ("cloudProvider", "billingAccountId"),
    "CostIntelligenceValidationRequest": ("billingAccountId",),
    "AccountFamilyRequest": ("name",),
}


def add_rules(contract: dict[str, Any]) -> dict[str, Any]:
    """Return the contract with those additional rules that a schema can express."""
    extended = copy.deepcopy(contract)
    for name, required in REQUIRED_FIELDS.items():
        schema = extended["components"]["schemas"][name]
        ((wrapper, fields),) = schema["properties"].items()
        schema["required"] = [wrapper]
        fields["required"] = list(required)
        for field in required:
            fields["properties"][field]["minLength"] = 1
            if field == "bucketName":
                fields["properties"][field]["pattern"] = r"^[^/\\\x00]*[^./\\\x00][^/\\\x00]*$"
    # A change may leave the name out, which stays as it was then.
    schemas = extended["components"]["schemas"]
    schemas["AccountFamilyChange"] = change = copy.deepcopy(schemas["AccountFamilyRequest"])
    del change["properties"]["family"]["required"]
    body = extended["paths"]["/billingEngine/family/{familyId}"]["put"]["requestBody"]
    reference = "#/components/schemas/AccountFamilyChange"
    body["content"]["application/json"]["schema"] = {"$ref": reference}
    for operation in ("account", "cost"):
        (account_id, *_) = extended["paths"][f"/billingEngine/{operation}"]["get"]["parameters"]
        account_id["schema"]["minLength"] = 1
    return extended


def schemathesis_config(allowed_400: tuple[str, ...]) -> str:
    """Return the configuration with the operations that may answer valid data with a 400."""
    return "\n".join(
        f'[[operations]]\ninclude-operation-id = "{operation}"\n'
        f"checks.positive_data_acceptance.expected-statuses = {STATUSES_WITH_400}\n"
        for operation in allowed_400
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Emulator]:
    """Run an emulator with the sample and an empty bucket."""
    (tmp_path / "buckets" / "empty").mkdir(parents=True)
    async with Emulator(buckets=tmp_path / "buckets", db=tmp_path / "state.db") as running:
        yield running


@pytest.mark.parametrize("with_rules", [False, True], ids=["as it is", "with additional rules"])
async def test_the_emulator_conforms_to_the_contract(
    server: Emulator, tmp_path: Path, with_rules: bool
) -> None:
    """No generated request, valid or not, gets a response that violates the contract."""
    contract = yaml.safe_load(CONTRACT.read_text())
    schema, config = tmp_path / "openapi.yml", tmp_path / "schemathesis.toml"
    schema.write_text(yaml.safe_dump(add_rules(contract) if with_rules else contract))
    config.write_text(
        schemathesis_config(
            OPERATIONS_WITH_RULES_BEYOND_SCHEMAS
            if with_rules
            else OPERATIONS_WITH_UNDOCUMENTED_RULES
        )
    )
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={config}",
        "run",
        str(schema),
        f"--url={server.base_url}",
        f"--header=Authorization: Bearer {server.token}",
        "--phases=coverage,fuzzing",
        f"--max-examples={EXAMPLES}",
        "--generation-deterministic",
        "--exclude-checks=status_code_conformance",
        "--continue-on-failure",
        "--no-color",
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "", "PYTHONHASHSEED": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    report = output.decode(errors="replace")
    assert process.returncode == 0, report
    assert "Tested: 11" in report
