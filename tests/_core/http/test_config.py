"""Configuration values are checked when they are made."""

from typing import Any

import pytest

from spot_billing_async import ClientConfig, ConfigError, RetryPolicy


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "8"])
def test_counts_are_whole_numbers_from_one(value: object) -> None:
    """A count that is not an integer >= 1 is refused; the error names field and value."""
    with pytest.raises(ConfigError, match=r"max_concurrency must be an integer >= 1, got "):
        ClientConfig(max_concurrency=value)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "30", True])
def test_times_are_finite_seconds_above_zero(value: object) -> None:
    """A deadline that is not a finite number above zero is refused."""
    with pytest.raises(ConfigError, match=r"deadline_s must be a number of seconds > 0, got "):
        ClientConfig(deadline_s=value)  # type: ignore[arg-type]  # what is tested


def test_the_retry_policy_is_checked_as_well() -> None:
    """Errors in a part of the configuration name that part."""
    with pytest.raises(ConfigError, match=r"retry\.max_attempts must be an integer >= 1, got 0"):
        RetryPolicy(max_attempts=0)


@pytest.mark.parametrize("options", [{"allow_insecure": "false"}, {"retry": None}])
def test_parts_are_of_their_type(options: dict[str, Any]) -> None:
    """A value of another type is refused, such as the text 'false' for a flag."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        ClientConfig(**options)


def test_values_are_frozen() -> None:
    """A configuration that several clients share cannot be changed."""
    with pytest.raises(AttributeError):
        ClientConfig().deadline_s = 1  # type: ignore[misc]  # what is tested
    overrides = {"getCostAnalysis": "/cost"}
    config = ClientConfig(path_overrides=overrides)
    overrides["getCostAnalysis"] = "no path"
    assert config.path_overrides == {"getCostAnalysis": "/cost"}
