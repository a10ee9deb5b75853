"""Cost Intelligence: the contract's tag 'Cost Intelligence'."""

from spot_billing_async._core.protocol.operations import SETUP_INTELLIGENCE, VALIDATE_INTELLIGENCE
from spot_billing_async.models import Acknowledgement
from spot_billing_async.resources.billing_setup import SetupResource, checked_provider


class CostIntelligenceResource(SetupResource):
    """Setup of Cost Intelligence for a billing account: `client.cost_intelligence`."""

    _name = "costIntelligence"
    _validation = VALIDATE_INTELLIGENCE

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
        return await self._call(SETUP_INTELLIGENCE, provider, billing_account_id)
