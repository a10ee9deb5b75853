"""What both kinds of setup share: a cloud provider's billing account, and an acknowledgement."""

from collections.abc import Mapping
from typing import Any

from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async.errors import ArgumentError
from spot_billing_async.models import CLOUD_PROVIDERS, Acknowledgement
from spot_billing_async.models.validation import checked_id


def checked_provider(value: object) -> str:
    """The contract's spelling of a provider, which may be given in any case.

    Raises:
        ArgumentError: names the value and the providers.
    """
    provider = value.lower() if isinstance(value, str) else ""
    if provider not in CLOUD_PROVIDERS:
        raise ArgumentError(
            f"cloud_provider: {value!r} is unknown; allowed: {', '.join(CLOUD_PROVIDERS)}"
        )
    return provider


def billing_subject(cloud_provider: str, billing_account_id: str) -> dict[str, str]:
    """The part of a body that names a billing account.

    Raises:
        ArgumentError: the account is no id.
    """
    return {
        "cloudProvider": cloud_provider,
        "billingAccountId": checked_id("billing_account_id", billing_account_id),
    }


async def acknowledged(
    session: SessionManager, operation: Operation, body: Mapping[str, object]
) -> Acknowledgement:
    """Call an operation that answers with an acknowledgement.

    Raises:
        SpotBillingError: the call failed.
    """
    # Any: the contract does not describe the items, so they are handed on as plain data.
    answer = await call(session, operation, Any, body=body)
    return Acknowledgement(request_id=answer.request_id, status=answer.status, items=answer.items)
