"""Limits are checked where they are made."""

from typing import Any

import pytest

from spot_billing_async import ClientConfig, ConfigError, RetryPolicy


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "8"])
def test_counts_are_whole_numbers_from_one(value: object) -> None:
    """The error names the field, the value, and what is allowed."""
    with pytest.raises(ConfigError, match=r"max_concurrency must be an integer >= 1, got "):
        ClientConfig(max_concurrency=value)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "30", True])
def test_times_are_finite_seconds_above_zero(value: object) -> None:
    """A deadline that never comes, or came already, is refused."""
    with pytest.raises(ConfigError, match=r"deadline_s must be a number of seconds > 0, got "):
        ClientConfig(deadline_s=value)  # type: ignore[arg-type]  # what is tested


def test_the_retry_policy_is_checked_as_well() -> None:
    """Parts of the configuration name themselves in their errors."""
    with pytest.raises(ConfigError, match=r"retry\.max_attempts must be an integer >= 1, got 0"):
        RetryPolicy(max_attempts=0)


@pytest.mark.parametrize("options", [{"allow_insecure": "false"}, {"retry": None}])
def test_parts_are_of_their_type(options: dict[str, Any]) -> None:
    """A text that says 'false' does not open the door."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        ClientConfig(**options)


def test_values_are_frozen() -> None:
    """A configuration that clients share cannot change under them."""
    with pytest.raises(AttributeError):
        ClientConfig().deadline_s = 1  # type: ignore[misc]  # what is tested
    overrides = {"getCostAnalysis": "/cost"}
    config = ClientConfig(path_overrides=overrides)
    overrides["getCostAnalysis"] = "no path"
    assert config.path_overrides == {"getCostAnalysis": "/cost"}
