"""Cost Intelligence: the contract's tag 'Cost Intelligence'."""

from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.operations import SETUP_INTELLIGENCE, VALIDATE_INTELLIGENCE
from spot_billing_async.models import Acknowledgement
from spot_billing_async.models.validation import checked_text
from spot_billing_async.resources.billing_setup import call_setup, checked_provider


class CostIntelligenceResource:
    """Setup of Cost Intelligence for a billing account: `client.cost_intelligence`."""

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def setup(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Set up Cost Intelligence for a billing account.

        Args:
            cloud_provider: "aws", "azure" or "gcp", in upper or lower case.
            billing_account_id: billing account at the provider.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        provider = checked_provider(cloud_provider)
        return await call_setup(
            self._session, SETUP_INTELLIGENCE, "costIntelligence", provider, billing_account_id
        )

    async def validate(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Check a Cost Intelligence setup; the findings are in `items`.

        Args:
            cloud_provider: provider of the setup; any text is sent unchanged.
            billing_account_id: billing account of the setup.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        provider = checked_text("cloud_provider", cloud_provider)
        return await call_setup(
            self._session, VALIDATE_INTELLIGENCE, "costIntelligence", provider, billing_account_id
        )
