"""The error classes."""

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
    """Catching SpotBillingError catches all that this package raises on purpose."""
    assert issubclass(error_class, SpotBillingError)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("field: 1; allowed: 2"),
        TransportError("refused", sent=False),
        DeadlineExceededError("later", 2.5),
        RateLimitedError(429, ["Throttling"], "slow down", "r1", "getCostAnalysis", 2.5, "{}"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_errors_survive_a_process_border(error: SpotBillingError) -> None:
    """A pickled error comes back with its class, text, and everything it carries."""
    error.attempts = 3
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_an_api_error_reads_as_a_sentence() -> None:
    """The text names the operation, the status, what the server said, and the request id."""
    error = ApiError(400, ["ValidationError"], "bad date", "r1", "getCostAnalysis")
    assert str(error) == "getCostAnalysis answered 400 bad date [ValidationError] (request id r1)"


def test_bad_input_is_a_value_error_too() -> None:
    """Code that knows nothing of this package may catch ValueError."""
    assert issubclass(ConfigError, ValueError)
