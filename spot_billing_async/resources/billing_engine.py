"""Billing Engine setup: the contract's tag 'Billing Engine Setup'."""

from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.operations import SETUP, VALIDATE_SETUP
from spot_billing_async.models import Acknowledgement
from spot_billing_async.models.validation import checked_text
from spot_billing_async.resources.billing_setup import call_setup, checked_provider


class BillingEngineResource:
    """Setup that links billing accounts to their cost data: `client.billing_engine`."""

    def __init__(self, session: SessionManager) -> None:
        self._session = session

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
        return await call_setup(
            self._session, SETUP, "billingEngine", provider, billing_account_id, bucketName=bucket
        )

    async def validate(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Check credentials and billing access of a setup; the findings are in `items`.

        Args:
            cloud_provider: provider of the setup. The contract lists no values here, so any text is
                sent unchanged.
            billing_account_id: billing account of the setup.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        provider = checked_text("cloud_provider", cloud_provider)
        return await call_setup(
            self._session, VALIDATE_SETUP, "billingEngine", provider, billing_account_id
        )
