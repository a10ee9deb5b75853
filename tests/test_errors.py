"""Error classes: their root, text and pickling."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    ApiError,
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    RateLimitedError,
    SpotBillingError,
    TransportError,
    errors,
)
from spot_billing_async.errors import printable, shortened, single_line
from tests.cli.terminals import unsafe

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


TEXTS = st.text(
    st.sampled_from(
        "\x00\x07\t\n\r\x1b\x7f\x85\x9b\u200b\u202e\u2028\u2066\u3164\ufe0f\U000e0041\\"
    )
    | st.characters(),
    max_size=20,
)


@given(
    texts=st.lists(TEXTS, min_size=4, max_size=4),
    times=st.sampled_from([1, 500, 50_000]),
    error_class=st.sampled_from(CLASSES),
)
def test_the_text_of_an_error_is_a_short_printable_line(
    texts: list[str], times: int, error_class: type[BaseException]
) -> None:
    """Whatever texts an error holds, its str and repr steer no terminal, forge no log line."""
    long = [text * times for text in texts]
    error = (
        error_class(400, [long[0]] * 100, long[1], long[2], "op", None, long[3][:500])
        if issubclass(error_class, ApiError)
        else error_class(long[0])
    )
    for shown in (str(error), repr(error)):
        assert unsafe(shown) == set()
        assert "\n" not in shown
        assert len(shown) < 8_000
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), repr(again)) == (str(error), repr(error))
    assert len(pickle.dumps(error)) < 60_000 or not isinstance(error, ApiError | DecodeError)


def test_an_error_keeps_short_texts_as_they_were_sent() -> None:
    """Attributes hold the server's texts; `str` escapes them, and joins lines."""
    error = ApiError(400, ["c\x1b[32m"], "bad\nlog line \x1b]0;x\x07\u202e", "r\u009b1")
    assert (error.message, error.codes) == ("bad\nlog line \x1b]0;x\x07\u202e", ("c\x1b[32m",))
    assert str(error) == (
        "request answered 400 bad log line \\u001b]0;x\\u0007\\u202e [c\\u001b[32m] "
        "(request id r\\u009b1)"
    )


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_an_escape_means_the_same_text_in_json(text: str) -> None:
    """Escaping the characters inside a JSON document does not change its meaning."""
    document = json.dumps(text, ensure_ascii=False)
    assert json.loads(printable(document)) == text
    assert printable(printable(document)) == printable(document)


def test_visible_text_is_not_changed() -> None:
    """Letters, combining marks, emoji and blanks of any language are shown as they are."""
    for text in ("Größe 5\u00a0€", "日本\u3000語", "e\u0301", "😀", "a  b"):
        assert single_line(text) == text


def test_a_cut_text_says_so() -> None:
    """A text that was cut ends with an ellipsis."""
    error = DecodeError("x" * 9_999)
    assert (len(error.message), str(error)[-2:]) == (2_000, "x…")
    assert shortened("x" * 2_000) == "x" * 2_000
