"""Configuration values are checked when they are made."""

from typing import Any

import msgspec
import pytest

import spot_billing_async
from spot_billing_async import ClientConfig, ConfigError, RetryPolicy, TlsConfig
from spot_billing_async.cache import CachePolicy

SETTINGS: list[Any] = [ClientConfig, RetryPolicy, TlsConfig, CachePolicy]
FIELDS = [(settings, name) for settings in SETTINGS for name in settings.__struct_fields__]


@pytest.mark.parametrize(("settings", "name"), FIELDS)
def test_every_setting_is_checked(settings: Any, name: str) -> None:
    """A value of no use is refused for every field of the settings, and the error names it."""
    part = "tls.client_" if name == "client_key_password" else name  # is refused with its file
    with pytest.raises(ConfigError, match=rf"{part}.* must be "):
        settings(**{name: object()})


@pytest.mark.parametrize(
    ("settings", "name"),
    [each for each in FIELDS if isinstance(getattr(each[0](), each[1]), int | float)],
)
def test_no_number_is_negative(settings: Any, name: str) -> None:
    """Every count, time and share is refused below zero."""
    with pytest.raises(ConfigError, match=rf"{name} must be .*, got -1"):
        settings(**{name: -1})


def test_the_ends_of_each_range_are_allowed() -> None:
    """The lowest and the highest values that the settings document are accepted."""
    lowest = RetryPolicy(max_attempts=1, budget_share=0, budget_reserve=0)
    assert (lowest.max_attempts, lowest.budget_share, lowest.budget_reserve) == (1, 0, 0)
    assert RetryPolicy(budget_share=1).budget_share == 1
    config = ClientConfig(max_concurrency=1, max_response_bytes=1)
    assert (config.max_concurrency, config.max_response_bytes) == (1, 1)
    assert CachePolicy(closes_after_days=0).closes_after_days == 0
    with pytest.raises(ConfigError, match=r"budget_share must be .*, got 1\.01"):
        RetryPolicy(budget_share=1.01)


def test_what_is_handed_out_is_frozen() -> None:
    """All public structs are frozen, except the phases, which a running call fills."""
    public = [getattr(spot_billing_async, name) for name in spot_billing_async.__all__]
    structs = [each for each in public if isinstance(each, msgspec.StructMeta)]
    changing = [each.__name__ for each in structs if not each.__struct_config__.frozen]
    assert changing == ["Phases"]
    assert all(settings.__struct_config__.frozen for settings in SETTINGS)


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_are_given_by_name(settings: Any) -> None:
    """Settings take no positional values, so that a new field never changes a caller's."""
    with pytest.raises(TypeError):
        settings(1)


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
