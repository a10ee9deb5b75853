"""Every command: output in each format, error lines and exit codes."""

import csv
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from spot_billing_async.cli.app import run
from spot_billing_async.version import __version__

Cli = Callable[..., subprocess.CompletedProcess[str]]
Call = Callable[..., tuple[int, str, str]]

ACCOUNT = "011254002932"


def json_of(call: Call, *words: str) -> Any:
    """Run a command that succeeds, and return the JSON that it prints."""
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_accounts_list(call: Call) -> None:
    """In a pipe, a list is printed as a JSON array with snake_case keys."""
    accounts = json_of(call, "accounts", "list")
    assert len(accounts) == 24
    assert set(accounts[0]) == {"account_id", "cloud_provider", "status", "billing_account_id"}
    assert json_of(call, "accounts", "list", "--account", ACCOUNT)[0]["account_id"] == ACCOUNT


def test_families_from_create_to_delete(call: Call) -> None:
    """A family is created, shown, listed, changed, emptied and deleted."""
    words = ("--name", "Staging", "--description", "all of it", "--account", "135048035184")
    family = json_of(call, "families", "create", *words)
    family_id = family.pop("family_id")
    assert family == {
        "name": "Staging",
        "description": "all of it",
        "account_ids": ["135048035184"],
    }
    assert json_of(call, "families", "get", family_id)["name"] == "Staging"
    assert family_id in [each["family_id"] for each in json_of(call, "families", "list")]
    changed = json_of(call, "families", "update", family_id, "--name", "Stage", "--no-accounts")
    assert (changed["name"], changed["account_ids"]) == ("Stage", [])
    deleted = json_of(call, "families", "delete", family_id)
    assert deleted == {"family_id": family_id, "deleted": True}
    code, out, err = call("families", "get", family_id)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "404" in err


@pytest.mark.parametrize("group", ["billing-engine", "cost-intelligence"])
def test_setup_and_validate(call: Call, group: str) -> None:
    """Setup and validation print the acknowledgement of the API as one object."""
    words = ["--cloud-provider", "gcp", "--billing-account-id", "spot-sample-01"]
    bucket = ["--bucket-name", "exports"] if group == "billing-engine" else []
    acknowledged = json_of(call, group, "setup", *words, *bucket)
    assert set(acknowledged) == {"request_id", "status", "items"}
    assert acknowledged["status"]["code"] == 200
    assert json_of(call, group, "validate", *words)["items"][0]["valid"] is not None


def test_costs_get_in_three_formats(call: Call) -> None:
    """JSON, CSV and the table show the same amounts; the table aligns them to the right."""
    words = ("costs", "get", "--account", ACCOUNT, "--from", "2024-02-29", "--to", "2024-02-29")
    items = json_of(call, *words, "--group-by", "service", "--format", "json")
    assert {item["date"] for item in items} == {"2024-02-29"}
    assert all(isinstance(item["cost"], str) for item in items)
    _, table, _ = call(*words, "--group-by", "service", "--format", "table")
    assert f"{items[0]['cost']} │" in table
    _, text, _ = call(*words, "--group-by", "service", "--format", "csv")
    assert text.split("\r\n")[0].startswith("account_id,cloud_provider,service,")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["cost"] for row in rows] == [item["cost"] for item in items]
    (total,) = json_of(call, *words)
    assert total["service"] is None


def test_one_object_in_a_table_and_in_csv(call: Call) -> None:
    """One object is printed as a table of its fields, or as one CSV record."""
    _, table, _ = call("families", "get", "fam-5a3e0001", "--format", "table")
    assert "│ name " in table
    _, text, _ = call("families", "get", "fam-5a3e0001", "--format", "csv")
    (row,) = csv.DictReader(text.splitlines())
    assert ACCOUNT in json.loads(row["account_ids"])


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("accounts", "list", "--debug=maybe"),
        ("costs", "pull"),
        ("costs", "get", "--group-by", "colour"),
        ("costs", "get", "--from", "2024-13-01"),
        ("costs", "get", "--from", "2024-02-02", "--to", "2024-02-01"),
        ("accounts", "list", "--format", "xml"),
        ("accounts", "list", "--account", ""),
        ("accounts", "list", "--token", "t"),
        ("families", "update", "fam-1"),
        ("emulator", "--port", "0", "--rate-limit", "often"),
        ("emulator", "--port", "0", "--page-size", "0"),
        ("demo", "--focus", "missing.csv"),
    ],
)
def test_bad_usage_is_code_2_and_one_line(call: Call, words: tuple[str, ...]) -> None:
    """Wrong arguments give exit code 2 and one line on standard error."""
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [(), ("costs",), ("costs", "pull"), ("families", "update"), ("emulator",), ("demo",)]
)
def test_every_command_has_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` prints the usage and the options of every command."""
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: spot-billing" in text
    assert "--debug" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version of the package."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_debug_shows_the_traceback_and_never_the_token(cli: Cli, served: Mapping[str, str]) -> None:
    """`--debug` adds the traceback, in which a refused token does not appear."""
    variables = dict(served) | {"SPOTINST_TOKEN": "a-wrong-secret"}
    plain = cli("accounts", "list", **variables)
    assert (plain.returncode, plain.stdout, plain.stderr.count("\n")) == (1, "", 1)
    debug = cli("accounts", "list", "--debug", **variables)
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert "a-wrong-secret" not in plain.stderr + debug.stderr


def test_a_missing_token_is_code_2(cli: Cli) -> None:
    """Without a token, the message names the places where one is looked for."""
    done = cli("accounts", "list")
    assert done.returncode == 2
    assert "SPOTINST_TOKEN" in done.stderr


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("cyclopts", ("accounts", "list"), "cli"),
        ("rich", ("accounts", "list"), "cli"),
        ("duckdb", ("demo",), "emulator"),
        (
            "pyarrow",
            (
                "costs",
                "pull",
                "--account=a",
                "--from=2024-01-01",
                "--to=2024-01-02",
                "--out=x.parquet",
            ),
            "export",
        ),
    ],
)
def test_a_missing_extra_is_named(
    environment: dict[str, str], tmp_path: Path, module: str, words: tuple[str, ...], extra: str
) -> None:
    """A missing library gives exit code 2 and one line that names the extra to install."""
    hidden = f"import sys; sys.modules[{module!r}] = None"
    code = f"{hidden}; from spot_billing_async.cli import main; main()"
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env=environment | {"SPOTINST_TOKEN": "t"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"pip install '.[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_a_list_is_a_table(
    environment: dict[str, str], served: Mapping[str, str]
) -> None:
    """On a terminal, the default format is a table."""
    reader, terminal = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "spot_billing_async.cli", "families", "list"],
        env=environment | dict(served) | {"TERM": "xterm", "COLUMNS": "120"},
        stdout=terminal,
        check=True,
    )
    os.close(terminal)
    text = os.read(reader, 65_536).decode()
    os.close(reader)
    assert "┃" in text
    assert "Platform" in text


def test_a_busy_port_is_one_line(call: Call, served: Mapping[str, str]) -> None:
    """The emulator fails with one line if its port is in use."""
    port = served["SPOTINST_BASE_URL"].rpartition(":")[2]
    code, _, err = call("emulator", "--port", port)
    assert code == 1
    assert "in use" in err
    assert err.count("\n") == 1


def test_the_demo_proves_its_total(call: Call) -> None:
    """The demo pulls the sample, and its last line compares the total with the ledger."""
    code, out, err = call("demo")
    assert (code, err) == (0, "")
    last = out.splitlines()[-1]
    assert last.startswith("576 slices, 57,018 rows, total EUR 1305325.173454873, USD ")
    assert last.endswith("equals the ledger")
    assert "Top services" in out
    assert "Top accounts" in out


def test_the_demo_proves_the_total_of_a_real_bill(call: Call, shared: Path) -> None:
    """The published FOCUS sample has its published total, to the last decimal."""
    code, out, _ = call("demo", "--focus", f"{shared}/data/focus-1.0-sample/focus_sample.csv")
    assert code == 0
    last = out.splitlines()[-1]
    assert " total USD 20.52022672899 in " in last
    assert last.endswith(": equals the ledger")
