"""Request and acknowledgement that both kinds of setup share."""

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


async def call_setup(
    session: SessionManager,
    operation: Operation,
    name: str,
    cloud_provider: str,
    billing_account_id: str,
    **fields: str,
) -> Acknowledgement:
    """Set up a billing account, or have its setup validated.

    Args:
        session: sends the request.
        operation: operation to call; it returns an acknowledgement.
        name: name of the setup in the request body.
        cloud_provider: checked name of the provider.
        billing_account_id: billing account at the provider.
        fields: further checked fields of the setup.

    Raises:
        ArgumentError: the account is not an id.
        SpotBillingError: the call failed.
    """
    setup = {
        "cloudProvider": cloud_provider,
        "billingAccountId": checked_id("billing_account_id", billing_account_id),
        **fields,
    }
    # Any: the contract does not describe the items, so they stay plain data.
    answer = await call(session, operation, Any, body={name: setup})
    return Acknowledgement(request_id=answer.request_id, status=answer.status, items=answer.items)
