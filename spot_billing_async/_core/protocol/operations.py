"""The API's eleven operations as data, in the contract's order."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import NamedTuple

from spot_billing_async.errors import ConfigError


class Operation(NamedTuple):
    """One operation of the contract."""

    operation_id: str
    method: str
    path: str  # below the base URL, with `{name}` in place of a parameter
    # True where sending the request twice has the effect of sending it once, so that it may be
    # retried after it may have reached the server.
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
    constant.operation_id: constant
    for constant in list(globals().values())  # those above
    if isinstance(constant, Operation)
}

# A path alone, which cannot change the rest of a URL: from ! to ~, without ?, # and backslash.
_is_plain = re.compile(r'/[!"$->@-\[\]-~]*').fullmatch


def check_path_overrides(overrides: Mapping[str, object]) -> None:
    """Raise unless each override is of a known operation and has the contract's parameters.

    Raises:
        ConfigError: names the operationId, what is allowed, and the path.
    """
    if not isinstance(overrides, Mapping):
        raise ConfigError(
            f"path_overrides must be a mapping of operationId to path, got {overrides!r}"
        )
    for operation_id, path in overrides.items():
        operation = OPERATIONS.get(operation_id)
        if operation is None:
            raise ConfigError(
                f"path_overrides must have keys out of {', '.join(OPERATIONS)}, "
                f"got {operation_id!r}"
            )
        if not isinstance(path, str) or not _is_plain(path):
            raise ConfigError(
                f"path_overrides[{operation_id!r}] must be printable ASCII that starts with '/', "
                f"without query, fragment, backslash or spaces, got {path!r}"
            )
        if _parameters(path) != _parameters(operation.path):
            raise ConfigError(
                f"path_overrides[{operation_id!r}] must have the parameters of "
                f"{operation.path!r}, got {path!r}"
            )


def _parameters(path: str) -> list[tuple[str, str, str]]:
    """Return name, format and conversion of each parameter; the contract's have a name only."""
    try:
        parsed = list(Formatter().parse(path))
    except ValueError:
        return [(path, "", "")]  # not a template: equal to no operation's parameters
    return sorted((name, spec or "", kind or "") for _, name, spec, kind in parsed if name)
