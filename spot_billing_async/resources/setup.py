"""Tags 'Billing Engine Setup' and 'Cost Intelligence'."""

from collections.abc import Mapping
from typing import Any

from spot_billing_async.calls import call
from spot_billing_async.checks import checked_id, checked_text
from spot_billing_async.errors import ConfigError
from spot_billing_async.models import CLOUD_PROVIDERS, Acknowledgement
from spot_billing_async.operations import (
    SETUP,
    SETUP_INTELLIGENCE,
    VALIDATE_INTELLIGENCE,
    VALIDATE_SETUP,
    Operation,
)
from spot_billing_async.session import SessionManager


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
            ConfigError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        subject = _subject(_checked_provider(cloud_provider), billing_account_id)
        subject["bucketName"] = checked_text("bucket_name", bucket_name)
        return await _acknowledged(self._session, SETUP, {"billingEngine": subject})

    async def validate(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Have credentials and billing access of a setup checked; the items tell the findings.

        Args:
            cloud_provider: the provider of the setup. The contract lists no values for it here, so
                any text is sent, as it is.
            billing_account_id: the billing account of the setup.

        Raises:
            ConfigError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        subject = _subject(checked_text("cloud_provider", cloud_provider), billing_account_id)
        return await _acknowledged(self._session, VALIDATE_SETUP, {"billingEngine": subject})


class CostIntelligenceResource:
    """Cost Intelligence of an account: `client.cost_intelligence`."""

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def setup(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Set up Cost Intelligence for a billing account.

        Args:
            cloud_provider: `aws`, `azure` or `gcp`, in any case.
            billing_account_id: the billing account at the provider.

        Raises:
            ConfigError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        subject = _subject(_checked_provider(cloud_provider), billing_account_id)
        body = {"costIntelligence": subject}
        return await _acknowledged(self._session, SETUP_INTELLIGENCE, body)

    async def validate(self, *, cloud_provider: str, billing_account_id: str) -> Acknowledgement:
        """Have a Cost Intelligence setup checked; the items tell the findings.

        Args:
            cloud_provider: the provider of the setup; any text is sent, as it is.
            billing_account_id: the billing account of the setup.

        Raises:
            ConfigError: an argument is not usable; nothing was sent.
            SpotBillingError: the call failed.
        """
        subject = _subject(checked_text("cloud_provider", cloud_provider), billing_account_id)
        body = {"costIntelligence": subject}
        return await _acknowledged(self._session, VALIDATE_INTELLIGENCE, body)


def _checked_provider(value: object) -> str:
    """The contract's spelling of a provider, which may be given in any case."""
    provider = value.lower() if isinstance(value, str) else ""
    if provider not in CLOUD_PROVIDERS:
        raise ConfigError(
            f"cloud_provider: {value!r} is unknown; allowed: {', '.join(CLOUD_PROVIDERS)}"
        )
    return provider


def _subject(cloud_provider: str, billing_account_id: str) -> dict[str, str]:
    return {
        "cloudProvider": cloud_provider,
        "billingAccountId": checked_id("billing_account_id", billing_account_id),
    }


async def _acknowledged(
    session: SessionManager, operation: Operation, body: Mapping[str, object]
) -> Acknowledgement:
    # Any: the contract does not describe the items, so they are handed on as plain data.
    answer = await call(session, operation, Any, body=body)
    return Acknowledgement(request_id=answer.request_id, status=answer.status, items=answer.items)
