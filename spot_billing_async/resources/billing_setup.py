"""Request bodies and acknowledgements that both kinds of setup share."""

from collections.abc import Mapping
from typing import Any

from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async.errors import ArgumentError
from spot_billing_async.models import CLOUD_PROVIDERS, Acknowledgement
from spot_billing_async.models.validation import checked_id


def checked_provider(value: object) -> str:
    """Return the contract's spelling of a cloud provider, given in upper or lower case.

    Raises:
        ArgumentError: the contract does not list it.
    """
    provider = value.lower() if isinstance(value, str) else ""
    if provider not in CLOUD_PROVIDERS:
        raise ArgumentError(
            f"cloud_provider must be one of {', '.join(CLOUD_PROVIDERS)}, got {value!r}"
        )
    return provider


def billing_subject(cloud_provider: str, billing_account_id: str) -> dict[str, str]:
    """Return the part of a request body that names a billing account.

    Raises:
        ArgumentError: the account is not an id.
    """
    return {
        "cloudProvider": cloud_provider,
        "billingAccountId": checked_id("billing_account_id", billing_account_id),
    }


async def acknowledged(
    session: SessionManager, operation: Operation, body: Mapping[str, object]
) -> Acknowledgement:
    """Call an operation that returns an acknowledgement.

    Raises:
        SpotBillingError: the call failed.
    """
    # Any: the contract does not describe the items, so they stay plain data.
    answer = await call(session, operation, Any, body=body)
    return Acknowledgement(request_id=answer.request_id, status=answer.status, items=answer.items)
