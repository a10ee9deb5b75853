"""The API on one page: its eleven operations as data, in the contract's order."""

from collections.abc import Mapping
from string import Formatter
from typing import NamedTuple

from spot_billing_async.errors import ConfigError


class Operation(NamedTuple):
    """One operation of the contract.

    Attributes:
        operation_id: the contract's operationId.
        method: HTTP method.
        path: path below the base URL; `{name}` stands for a parameter.
        idempotent: sending it twice does what sending it once does, so it may be retried.
    """

    operation_id: str
    method: str
    path: str
    idempotent: bool


LIST_ACCOUNTS = Operation("listBillingEngineAccounts", "GET", "/billingEngine/account", True)
SETUP = Operation("setupBillingEngine", "POST", "/billingEngine/setup", False)
VALIDATE_SETUP = Operation(
    "validateBillingEngineSetup", "POST", "/billingEngine/setup/validation", False
)
CREATE_FAMILY = Operation("createAccountFamily", "POST", "/billingEngine/family", False)
LIST_FAMILIES = Operation("listAccountFamilies", "GET", "/billingEngine/family", True)
GET_FAMILY = Operation("getAccountFamily", "GET", "/billingEngine/family/{familyId}", True)
UPDATE_FAMILY = Operation("updateAccountFamily", "PUT", "/billingEngine/family/{familyId}", True)
DELETE_FAMILY = Operation("deleteAccountFamily", "DELETE", "/billingEngine/family/{familyId}", True)
GET_COSTS = Operation("getCostAnalysis", "GET", "/billingEngine/cost", True)
SETUP_INTELLIGENCE = Operation("setupCostIntelligence", "POST", "/costIntelligence/setup", False)
VALIDATE_INTELLIGENCE = Operation(
    "validateCostIntelligenceSetup", "POST", "/costIntelligence/setup/validation", False
)

OPERATIONS = {
    operation.operation_id: operation
    for operation in (
        LIST_ACCOUNTS,
        SETUP,
        VALIDATE_SETUP,
        CREATE_FAMILY,
        LIST_FAMILIES,
        GET_FAMILY,
        UPDATE_FAMILY,
        DELETE_FAMILY,
        GET_COSTS,
        SETUP_INTELLIGENCE,
        VALIDATE_INTELLIGENCE,
    )
}


def check_path_overrides(overrides: Mapping[str, str]) -> None:
    """Refuse overrides of unknown operations, or with other parameters than the contract's.

    Raises:
        ConfigError: names the operationId, the path and what is allowed.
    """
    if not isinstance(overrides, Mapping):
        raise ConfigError(f"path_overrides: {overrides!r} is no mapping of operationId to path")
    for operation_id, path in overrides.items():
        operation = OPERATIONS.get(operation_id)
        if operation is None:
            raise ConfigError(
                f"path_overrides: {operation_id!r} is no operationId; "
                f"allowed: {', '.join(OPERATIONS)}"
            )
        if not _is_plain(path):
            raise ConfigError(
                f"path_overrides[{operation_id!r}]: {path!r} is not usable; "
                "allowed: printable ASCII that starts with '/', without query, fragment or spaces"
            )
        if _parameters(path) != _parameters(operation.path):
            raise ConfigError(
                f"path_overrides[{operation_id!r}]: {path!r} has other parameters; "
                f"allowed: the ones of {operation.path!r}"
            )


def _is_plain(path: object) -> bool:
    return (
        isinstance(path, str)
        and path.startswith("/")
        and path.isascii()
        and path.isprintable()
        and not set(path) & set("?# \\")
    )


def _parameters(path: str) -> list[tuple[str, str, str]]:
    """Name, format and conversion of each parameter; the contract's have a name alone."""
    try:
        parsed = list(Formatter().parse(path))
    except ValueError:
        return [(path, "no", "template")]
    return sorted((name, spec or "", kind or "") for _, name, spec, kind in parsed if name)
