"""Error classes: their root, text and pickling."""

import pickle

import pytest

from spot_billing_async import (
    ApiError,
    ConfigError,
    DeadlineExceededError,
    RateLimitedError,
    SpotBillingError,
    TransportError,
    errors,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, BaseException)
]


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda c: c.__name__)
def test_every_error_has_the_one_root(error_class: type[BaseException]) -> None:
    """Every class is a subclass of SpotBillingError."""
    assert issubclass(error_class, SpotBillingError)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("field must be 2, got 1"),
        TransportError("refused", sent=False),
        DeadlineExceededError("later", 2.5),
        RateLimitedError(429, ["Throttling"], "slow down", "r1", "getCostAnalysis", 2.5, "{}"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_errors_survive_a_process_border(error: SpotBillingError) -> None:
    """An unpickled error has the class, text and attributes of the pickled one."""
    error.attempts = 3
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_an_api_error_reads_as_a_sentence() -> None:
    """The text of an ApiError names the operation, status, message, codes and request id."""
    error = ApiError(400, ["ValidationError"], "bad date", "r1", "getCostAnalysis")
    assert str(error) == "getCostAnalysis answered 400 bad date [ValidationError] (request id r1)"


def test_bad_input_is_a_value_error_too() -> None:
    """A ConfigError is a ValueError, for code that does not know this package."""
    assert issubclass(ConfigError, ValueError)
