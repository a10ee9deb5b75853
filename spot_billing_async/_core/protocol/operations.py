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

    @property
    def idempotent(self) -> bool:
        """True if sending it twice has the effect of once, so that it may be retried in doubt."""
        return self.method != "POST"


LIST_ACCOUNTS = Operation("listBillingEngineAccounts", "GET", "/billingEngine/account")
SETUP = Operation("setupBillingEngine", "POST", "/billingEngine/setup")
VALIDATE_SETUP = Operation("validateBillingEngineSetup", "POST", "/billingEngine/setup/validation")
CREATE_FAMILY = Operation("createAccountFamily", "POST", "/billingEngine/family")
LIST_FAMILIES = Operation("listAccountFamilies", "GET", "/billingEngine/family")
GET_FAMILY = Operation("getAccountFamily", "GET", "/billingEngine/family/{familyId}")
UPDATE_FAMILY = Operation("updateAccountFamily", "PUT", "/billingEngine/family/{familyId}")
DELETE_FAMILY = Operation("deleteAccountFamily", "DELETE", "/billingEngine/family/{familyId}")
GET_COSTS = Operation("getCostAnalysis", "GET", "/billingEngine/cost")
SETUP_INTELLIGENCE = Operation("setupCostIntelligence", "POST", "/costIntelligence/setup")
VALIDATE_INTELLIGENCE = Operation(
    "validateCostIntelligenceSetup", "POST", "/costIntelligence/setup/validation"
)

OPERATIONS = {
    constant.operation_id: constant
    for constant in list(globals().values())  # those above
    if isinstance(constant, Operation)
}

# A path alone, which cannot change the rest of a URL: from ! to ~, without ?, # and backslash.
_is_plain = re.compile(r'/[!"$->@-\[\]-~]*').fullmatch


def check_path_overrides(overrides: Mapping[str, object]) -> None:
    """Raise `ConfigError` unless each operation is known and its path has the same parameters."""
    if not isinstance(overrides, Mapping):
        raise ConfigError(
            f"path_overrides must be a mapping of operationId to path, got {overrides!r}"
        )
    for operation_id, path in overrides.items():
        operation = OPERATIONS.get(operation_id)
        if operation is None:
            known = ", ".join(OPERATIONS)
            raise ConfigError(f"path_overrides must have keys out of {known}, got {operation_id!r}")
        if not isinstance(path, str) or not _is_plain(path):
            rule = (
                "be printable ASCII that starts with '/', without query, fragment, backslash or "
                "spaces"
            )
        elif _parameters(path) != _parameters(operation.path):
            rule = f"have the parameters of {operation.path!r}"
        else:
            continue
        raise ConfigError(f"path_overrides[{operation_id!r}] must {rule}, got {path!r}")


def _parameters(path: str) -> list[tuple[str, str, str]]:
    """Return name, format and conversion of each parameter; the contract's have a name only."""
    try:
        parsed = list(Formatter().parse(path))
    except ValueError:
        return [(path, "", "")]  # not a template: equal to no operation's parameters
    return sorted((name, spec or "", kind or "") for _, name, spec, kind in parsed if name)
