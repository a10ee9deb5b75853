"""Tag 'Billing Engine Setup'."""

from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.operations import SETUP, VALIDATE_SETUP
from spot_billing_async.models import Acknowledgement
from spot_billing_async.models.validation import checked_text
from spot_billing_async.resources.billing_setup import (
    acknowledged,
    billing_subject,
    checked_provider,
)


class BillingEngineResource:
    """Linking accounts to where their cost data comes from: `client.billing_engine`."""

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def setup(
        self, *, cloud_provider: str, billing_account_id: str, bucket_name: str
    ) -> Acknowledgement:
        """Link a cloud provider's billing account and the bucket of its reports.

        It is sent again only where it is certain that the server did not act.

        Args:
            cloud_provider: `aws`, `azure` or `gcp`, in any case.
            billing_account_id: the billing or payer account at the provider.
            bucket_name: bucket or storage container of the cost and usage reports.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        subject = billing_subject(checked_provider(cloud_provider), billing_account_id)
        subject["bucketName"] = checked_text("bucket_name", bucket_name)
        return await acknowledged(self._session, SETUP, {"billingEngine": subject})

    async def validate(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Have credentials and billing access of a setup checked; the items tell the findings.

        Args:
            cloud_provider: the provider of the setup. The contract lists no values for it here, so
                any text is sent, as it is.
            billing_account_id: the billing account of the setup.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        subject = billing_subject(
            checked_text("cloud_provider", cloud_provider), billing_account_id
        )
        return await acknowledged(self._session, VALIDATE_SETUP, {"billingEngine": subject})
