"""The contract, held against a running emulator by Schemathesis, a tool of its own process.

Left out is one check: undocumented status codes, since the contract names no status but 200.

The contract demands next to nothing of a body, so that `{}` is valid by its schema. A setup without
a billing account and a family without a name are still refused with 400; so are an empty account id
and a range that ends before it begins. Hence two runs: one over the contract as it is, in which
valid data may meet a 400 in the operations that have such a rule; one over the contract with those
rules written into it, in which it may not.
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

from spot_billing_async.emulator import Emulator

CONTRACT = (
    Path(__file__).resolve().parents[2].parent
    / "shared"
    / "api"
    / "spot-billing-engine-openapi.yml"
)

pytestmark = pytest.mark.skipif(
    not CONTRACT.is_file(), reason="the contract is not beside the checkout"
)

EXAMPLES = 100
"""Generated cases an operation, in the fuzzing phase; the coverage phase has its own number."""

ALSO_400 = '["2xx", "400", "404", "409"]'
"""What valid data may meet where the contract doesn't say all the rules."""

AS_IT_IS = (
    "getCostAnalysis",
    "listBillingEngineAccounts",
    "setupBillingEngine",
    "validateBillingEngineSetup",
    "setupCostIntelligence",
    "validateCostIntelligenceSetup",
    "createAccountFamily",
    "updateAccountFamily",
)

# No schema says that one date must not be after another.
WITH_RULES = ("getCostAnalysis",)

REQUIRED = {
    "BillingEngineSetupRequest": ("cloudProvider", "billingAccountId", "bucketName"),
    "BillingEngineValidationRequest": ("billingAccountId",),
    "CostIntelligenceSetupRequest": ("cloudProvider", "billingAccountId"),
    "CostIntelligenceValidationRequest": ("billingAccountId",),
    "AccountFamilyRequest": ("name",),
}


def with_rules(contract: dict[str, Any]) -> dict[str, Any]:
    """The contract with the emulator's further rules, as far as a schema can say them."""
    ruled = copy.deepcopy(contract)
    for name, required in REQUIRED.items():
        schema = ruled["components"]["schemas"][name]
        ((wrapper, fields),) = schema["properties"].items()
        schema["required"] = [wrapper]
        fields["required"] = list(required)
        for field in required:
            fields["properties"][field]["minLength"] = 1
            if field == "bucketName":
                fields["properties"][field]["pattern"] = r"^[^/\\\x00]*[^./\\\x00][^/\\\x00]*$"
    for operation in ("account", "cost"):
        (account_id, *_) = ruled["paths"][f"/billingEngine/{operation}"]["get"]["parameters"]
        account_id["schema"]["minLength"] = 1
    return ruled


def settings(allowed_400: tuple[str, ...]) -> str:
    """The tool's configuration: which operations may answer valid data with 400."""
    return "\n".join(
        f'[[operations]]\ninclude-operation-id = "{operation}"\n'
        f"checks.positive_data_acceptance.expected-statuses = {ALSO_400}\n"
        for operation in allowed_400
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Emulator]:
    """An emulator with its sample, and a bucket that is empty."""
    (tmp_path / "buckets" / "empty").mkdir(parents=True)
    async with Emulator(buckets=tmp_path / "buckets", db=tmp_path / "state.db") as running:
        yield running


@pytest.mark.parametrize("ruled", [False, True], ids=["as it is", "with the further rules"])
async def test_the_contract_is_kept(server: Emulator, tmp_path: Path, ruled: bool) -> None:
    """No generated request, valid or not, gets an answer that the contract forbids."""
    contract = yaml.safe_load(CONTRACT.read_text())
    schema, config = tmp_path / "openapi.yml", tmp_path / "schemathesis.toml"
    schema.write_text(yaml.safe_dump(with_rules(contract) if ruled else contract))
    config.write_text(settings(WITH_RULES if ruled else AS_IT_IS))
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
