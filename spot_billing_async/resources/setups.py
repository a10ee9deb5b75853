"""Setups of billing accounts: the tags 'Billing Engine Setup' and 'Cost Intelligence'."""

from typing import Any, ClassVar

from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol import operations
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async.errors import ArgumentError
from spot_billing_async.models import CLOUD_PROVIDERS, Acknowledgement
from spot_billing_async.models.validation import checked_id, checked_text


class SetupResource:
    """Base of the setups; a subclass names the setup in the request body, and its validation."""

    _name: ClassVar[str]
    _validation: ClassVar[Operation]

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def validate(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Check a setup, such as its access to the billing account; the findings are in `items`.

        Args:
            cloud_provider: provider of the setup. The contract lists no values here, so any text is
                sent unchanged.
            billing_account_id: billing account of the setup.
        """
        provider = checked_text("cloud_provider", cloud_provider)
        return await self._call(self._validation, provider, billing_account_id)

    async def _call(
        self, operation: Operation, provider: str, billing_account_id: str, **fields: str
    ) -> Acknowledgement:
        account_id = checked_id("billing_account_id", billing_account_id)
        setup = {"cloudProvider": provider, "billingAccountId": account_id, **fields}
        # Any: the contract does not describe the items, so they stay plain data.
        answer = await call(self._session, operation, Any, body={self._name: setup})
        return Acknowledgement(
            request_id=answer.request_id, status=answer.status, items=answer.items
        )


class BillingEngineResource(SetupResource):
    """Setup that links billing accounts to their cost data: `client.billing_engine`.

    Its methods raise an `ArgumentError` for an argument that is not usable, before they send
    anything, and another `SpotBillingError` if the call fails.
    """

    _name = "billingEngine"
    _validation = operations.VALIDATE_SETUP

    async def setup(
        self, *, cloud_provider: str, billing_account_id: str, bucket_name: str
    ) -> Acknowledgement:
        """Link a billing account to the bucket that holds its cost and usage reports.

        The request is retried only if it is certain that the server did not act on it.

        Args:
            cloud_provider: "aws", "azure" or "gcp", in upper or lower case.
            billing_account_id: billing or payer account at the provider.
            bucket_name: bucket or storage container of the reports.
        """
        provider = _checked_provider(cloud_provider)
        bucket = checked_text("bucket_name", bucket_name)
        return await self._call(operations.SETUP, provider, billing_account_id, bucketName=bucket)


class CostIntelligenceResource(SetupResource):
    """Setup of Cost Intelligence for a billing account: `client.cost_intelligence`.

    Its methods raise the same errors as those of `client.billing_engine`.
    """

    _name = "costIntelligence"
    _validation = operations.VALIDATE_INTELLIGENCE

    async def setup(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Set up Cost Intelligence for a billing account.

        Args:
            cloud_provider: "aws", "azure" or "gcp", in upper or lower case.
            billing_account_id: billing account at the provider.
        """
        provider = _checked_provider(cloud_provider)
        return await self._call(operations.SETUP_INTELLIGENCE, provider, billing_account_id)


def _checked_provider(value: object) -> str:
    """Return the contract's spelling of a cloud provider, given in upper or lower case."""
    provider = value.lower() if isinstance(value, str) else ""
    if provider not in CLOUD_PROVIDERS:
        allowed = ", ".join(CLOUD_PROVIDERS)
        raise ArgumentError(f"cloud_provider must be one of {allowed}, got {value!r}")
    return provider
