"""Texts of a server on a terminal: every command, format and traceback."""

import csv
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot_billing_async.cli.terminal import protect_terminals
from tests.cli.terminals import Answering, answering, terminal, unsafe

STEERING = (
    "\x00\x07\x08\t\n\v\f\r\x1b\x1f\x7f\x80\x85\x90\x9b\x9d\x9f\xad\u034f\u061c\u115f\u200b\u200e"
    "\u202e\u2028\u2066\u2069\u3164\ufe0f\ufeff\ufff9\U000e0041\U000e0100"
)
TEXTS = st.text(
    st.sampled_from(STEERING + "=+-@'\"\\,;[]{}\u00a0") | st.characters(exclude_categories=["Cs"]),
    max_size=12,
)
FIELDS = (
    *("accountId", "cloudProvider", "service", "region", "familyId", "family", "currency"),
    *("billingAccountId", "name", "description", "status"),
)
ITEMS = st.fixed_dictionaries(
    dict.fromkeys(FIELDS, TEXTS)
    | {
        "accountIds": st.lists(TEXTS, max_size=2),
        "date": st.just("2025-01-01"),
        "cost": st.just("-1.5"),
    }
)
ENVELOPES = st.fixed_dictionaries(
    {
        "request": st.fixed_dictionaries({"id": TEXTS}),
        "response": st.fixed_dictionaries(
            {
                "status": st.fixed_dictionaries({"code": st.just(200), "message": TEXTS}),
                "items": st.lists(ITEMS, min_size=1, max_size=1),
            }
        ),
    }
)
ERRORS = st.fixed_dictionaries(
    {
        "request": st.fixed_dictionaries({"id": TEXTS}),
        "response": st.fixed_dictionaries(
            {
                "status": st.fixed_dictionaries({"code": st.just(400), "message": TEXTS}),
                "errors": st.lists(
                    st.fixed_dictionaries({"code": TEXTS, "message": TEXTS, "field": TEXTS})
                ),
            }
        ),
    }
)
DAY = ("--from", "2025-01-01", "--to", "2025-01-01")
PROVIDER = ("--cloud-provider", "aws", "--billing-account-id", "1")
COMMANDS = (
    ("accounts", "list"),
    ("families", "list"),
    ("families", "get", "f"),
    ("families", "create", "--name", "n"),
    ("families", "update", "f", "--name", "n"),
    ("families", "delete", "f"),
    ("billing-engine", "setup", *PROVIDER, "--bucket-name", "b"),
    ("billing-engine", "validate", *PROVIDER),
    ("cost-intelligence", "setup", *PROVIDER),
    ("cost-intelligence", "validate", *PROVIDER),
    ("costs", "get", *DAY),
)
FORMATS = ("table", "json", "csv", "spreadsheet")
PULL = ("costs", "pull", "--account", "a", *DAY)
# The hostile answer of an outside check.
ESCAPES = "\x1b]0;PWNED\x07\x1b[31m\u009b2J\u202e"


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    """Run a server whose answers the tests change."""
    with answering() as answers:
        yield answers


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("empty"))
        yield


@settings(max_examples=4)
@given(envelope=ENVELOPES)
def test_no_command_shows_a_character_that_steers(server: Answering, envelope: Any) -> None:
    """Whatever texts an answer holds, each command shows only printable ones, in every format."""
    server.status, server.body = 200, envelope
    for command in COMMANDS:
        for name in FORMATS:
            code, shown = server.on_terminal(*command, "--format", name)
            assert (code, unsafe(shown)) == (0, set()), (command, name)
            if name in {"csv", "spreadsheet"}:
                assert shown.count("\n") == 2  # the header and one row


@settings(max_examples=4)
@given(envelope=st.none() | ERRORS, header=TEXTS)
def test_no_error_shows_a_character_that_steers(
    server: Answering, envelope: Any, header: str
) -> None:
    """Errors are one printable line, and the lines of their tracebacks are printable."""
    server.status, server.body = 400, envelope
    server.header = re.sub(r"[\x00-\x1f\x7f]", "", header)  # aiohttp refuses these
    for command in (*COMMANDS, PULL):
        code, shown = server.on_terminal(*command)
        assert (code, unsafe(shown)) == (3 if command == PULL else 1, set())
        assert command == PULL or shown.count("\n") == 1
        _, shown = server.on_terminal("--debug", *command)
        assert unsafe(shown) == set()
        assert command == PULL or shown.startswith("Traceback ")
    server.header = ""


@settings(max_examples=4)
@given(envelope=ENVELOPES)
def test_json_on_a_terminal_stands_for_the_same_data(server: Answering, envelope: Any) -> None:
    """JSON shown on a terminal, with its escapes, is equal to the JSON in a pipe."""
    server.status, server.body = 200, envelope
    for command in ((*each, "--format", "json") for each in COMMANDS):
        _, piped = server.in_pipe(*command)
        _, shown = server.on_terminal(*command)
        assert json.loads(shown) == json.loads(piped)
    (item,) = json.loads(server.in_pipe("costs", "get", "--format", "json")[1])
    sent = envelope["response"]["items"][0]
    assert (item["service"], item["currency"]) == (sent["service"], sent["currency"])


@settings(max_examples=10)
@given(envelope=ENVELOPES)
def test_a_pipe_and_a_file_keep_the_data(server: Answering, envelope: Any) -> None:
    """CSV and JSON lines hold the texts of the server unchanged, where no terminal shows them."""
    server.status, server.body = 200, envelope
    sent = envelope["response"]["items"][0]
    names = ("accountId", "cloudProvider", "service", "region", "family", "familyId")
    texts = [sent[name] for name in names]
    _, piped = server.in_pipe("costs", "get", "--format", "csv")
    _, row = csv.reader(io.StringIO(piped.decode(), newline=""))
    assert row == [*texts, "2025-01-01", "-1.5", sent["currency"]]
    code, lines = server.in_pipe(*PULL)
    assert code == 0
    assert json.loads(lines)["service"] == sent["service"]
    assert server.in_pipe(*PULL, "--out", "kept.csv")[0] == 0
    _, row = csv.reader(io.StringIO(Path("kept.csv").read_bytes().decode(), newline=""))
    assert {sent["service"], sent["currency"], envelope["request"]["id"]} <= set(row)
    code, shown = server.on_terminal(*PULL)
    assert (code, unsafe(shown)) == (0, set())
    assert json.loads(shown.splitlines()[0]) == json.loads(lines)


@settings(max_examples=3)
@given(envelope=ENVELOPES, error=ERRORS)
def test_a_table_is_shown_printable(server: Answering, envelope: Any, error: Any) -> None:
    """A sync, its errors, and the totals of its table are printable; restatements are, too."""
    with tempfile.TemporaryDirectory() as folder:
        sync = ("costs", "sync", "--table", f"{folder}/t", "--account", "a", *DAY, "--reconcile")
        for cost in ("-1.5", "2.5"):
            envelope["response"]["items"][0]["cost"] = cost
            server.status, server.body = 200, envelope
            code, shown = server.on_terminal(*sync, "--mutable-days", "99999")
            assert (code, unsafe(shown)) == (0, set())
        for name in FORMATS:
            code, shown = server.on_terminal(
                "costs", "show", "--table", f"{folder}/t", "--format", name
            )
            assert (code, unsafe(shown)) == (0, set())
        server.status, server.body = 400, error
        code, shown = server.on_terminal("--debug", *sync, "--mutable-days", "99999")
        assert (code, unsafe(shown)) == (3, set())


def test_a_terminal_keeps_the_colours_of_the_command(
    server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and help have their own colours, beside which no escape of a server passes."""
    monkeypatch.setitem(server.variables, "TERM", "xterm-256color")
    monkeypatch.setitem(server.variables, "COLUMNS", "200")
    item = {"service": ESCAPES, "currency": "\x1b[31mUSD", "cost": "1", "accountId": "[red]x[/red]"}
    server.status, server.body = 200, {"response": {"items": [item]}}
    _, shown = server.on_terminal("costs", "get", "--format", "table")
    assert "\x1b[1m" in shown
    assert "\x1b[31m" not in shown
    assert unsafe(re.sub(r"\x1b\[[\d;]*m", "", shown)) == set()
    assert "[red]x[/red]" in shown
    _, shown = server.on_terminal("costs", "get", "--help")
    assert "Usage: spot-billing" in re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert "\\u001b" not in shown


def test_an_8_bit_terminal_gets_no_control_bytes(server: Answering) -> None:
    """A terminal that is not UTF-8 gets its own encoding, and escapes for what that lacks."""
    item = {"service": "\u011b2J\u9b9b", "accountId": "\xe9", "cost": "1"}  # UTF-8: c4 9b 32 4a
    server.status, server.body = 200, {"response": {"items": [item]}}
    for name in FORMATS:
        code, shown = server.on_terminal("costs", "get", "--format", name, encoding="latin-1")
        assert (code, unsafe(shown)) == (0, set())
        assert "\xe9" in shown
        assert "\\u011b2J\\u9b9b" in shown
    server.status, server.body = 400, {"response": {"errors": [{"message": "\u011b2J\u9b9b\x9b"}]}}
    _, shown = server.on_terminal("--debug", "costs", "get", encoding="latin-1")
    assert unsafe(shown) == set()
    assert "\\u011b2J\\u9b9b\\u009b" in shown


@given(text=st.text(st.sampled_from(STEERING + "aé€😀") | st.characters()), cut=st.integers(0, 99))
def test_a_protected_stream_shows_only_printable_text(text: str, cut: int) -> None:
    """Texts and bytes, cut inside a character too, are escaped on a terminal; lines stay lines."""
    with terminal() as output:
        protect_terminals()
        protect_terminals()  # not escaped twice
        print(text)  # noqa: T201  the subject
        print(text, file=sys.stderr)  # noqa: T201  the subject
        content = text.encode("utf-8", "replace")
        sys.stdout.buffer.write(content[:cut])
        sys.stdout.buffer.write(content[cut:])
        assert sys.stdout.isatty()
        assert sys.stdout.fileno() == sys.stderr.fileno()
        shown = output()
    assert unsafe(shown) == set()
    assert shown.count("\n") == 3 * text.count("\n") + 2


def test_a_stream_that_is_no_terminal_is_not_replaced() -> None:
    """Pipes and files get what was written."""
    before = sys.stdout, sys.stderr
    protect_terminals()
    assert (sys.stdout, sys.stderr) == before
