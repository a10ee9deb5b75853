"""Billing Engine setup: the contract's tag 'Billing Engine Setup'."""

from spot_billing_async._core.protocol.operations import SETUP, VALIDATE_SETUP
from spot_billing_async.models import Acknowledgement
from spot_billing_async.models.validation import checked_text
from spot_billing_async.resources.billing_setup import SetupResource, checked_provider


class BillingEngineResource(SetupResource):
    """Setup that links billing accounts to their cost data: `client.billing_engine`."""

    _name = "billingEngine"
    _validation = VALIDATE_SETUP

    async def setup(
        self, *, cloud_provider: str, billing_account_id: str, bucket_name: str
    ) -> Acknowledgement:
        """Link a billing account to the bucket that holds its cost and usage reports.

        The request is retried only if it is certain that the server did not act on it.

        Args:
            cloud_provider: "aws", "azure" or "gcp", in upper or lower case.
            billing_account_id: billing or payer account at the provider.
            bucket_name: bucket or storage container of the reports.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        provider = checked_provider(cloud_provider)
        bucket = checked_text("bucket_name", bucket_name)
        return await self._call(SETUP, provider, billing_account_id, bucketName=bucket)
