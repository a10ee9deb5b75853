"""Tables of settings and lists in the guides, compared with the package."""

import ast
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cyclopts
import msgspec
import pytest

import spot_billing_async
from spot_billing_async import (
    ClientConfig,
    CostPlan,
    RetryPolicy,
    SpotBillingClient,
    TlsConfig,
    deadline,
    errors,
)
from spot_billing_async.cache import CachePolicy, CostCache, MemoryStore
from spot_billing_async.cli.app import app
from spot_billing_async.emulator import Emulator
from spot_billing_async.export import write_costs
from spot_billing_async.fastapi import RequestDeadline, stream_costs
from spot_billing_async.logs import LoggingHook, StructlogHook
from spot_billing_async.otel import OpenTelemetryHook
from spot_billing_async.redis import RedisQuota, RedisStore
from spot_billing_async.resources.costs import CostsResource
from spot_billing_async.table import sync
from tests.support_guides import DOCUMENTS, GUIDES, Table, blocks_of, tables_of

SETTINGS: Mapping[str, Callable[..., Any]] = {
    "CachePolicy": CachePolicy,
    "ClientConfig": ClientConfig,
    "CostCache": CostCache,
    "CostPlan.build": CostPlan.build,
    "Emulator": Emulator,
    "LoggingHook": LoggingHook,
    "MemoryStore": MemoryStore,
    "OpenTelemetryHook": OpenTelemetryHook,
    "RedisQuota": RedisQuota,
    "RedisStore": RedisStore,
    "RequestDeadline": RequestDeadline,
    "RetryPolicy": RetryPolicy,
    "SpotBillingClient": SpotBillingClient,
    "SpotBillingClient.with_token": SpotBillingClient.with_token,
    "StructlogHook": StructlogHook,
    "TlsConfig": TlsConfig,
    "client.costs.pull": CostsResource.pull,
    "deadline": deadline,
    "stream_costs": stream_costs,
    "sync": sync,
    "write_costs": write_costs,
}
"""What the tables of settings describe, by the name in the first cell of their header."""


TABLES = [
    pytest.param(table, id=f"{path.stem}: {table.name}")
    for path in DOCUMENTS
    for table in tables_of(path)
]


def defaults_of(settings: Callable[..., Any]) -> dict[str, object]:
    """Return the default of each parameter; `inspect.Parameter.empty` for required ones."""
    if isinstance(settings, type) and issubclass(settings, msgspec.Struct):
        value = settings()
        return {name: getattr(value, name) for name in settings.__struct_fields__}
    parameters = inspect.signature(settings).parameters.values()
    return {
        parameter.name: parameter.default for parameter in parameters if parameter.name != "self"
    }


def options_of(command: str) -> dict[str, str]:
    """Return the default of each option of a command, as the guides spell it."""
    found = app
    for word in command.split()[1:]:
        found = found[word]
    spelled = {None: "none", False: "off", True: "on", inspect.Parameter.empty: "required"}
    options = {}
    for argument in found.assemble_argument_collection():
        default = argument.field_info.default
        is_plain = isinstance(default, str | int) and not isinstance(default, bool)
        options[argument.name] = str(default) if is_plain else spelled[default]
    return options


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_settings_are_true(table: Table) -> None:
    """A table lists every parameter or option, each with its real default."""
    if table.name.startswith("spot-billing "):
        assert {row[0].strip("`"): row[1] for row in table.rows} == options_of(table.name)
        return
    expected = defaults_of(SETTINGS[table.name])
    assert [row[0].strip("`") for row in table.rows] == list(expected)
    names = vars(spot_billing_async) | {"logging": logging, "CachePolicy": CachePolicy}
    for name, cell, *_ in table.rows:
        default = expected[name.strip("`")]
        if cell == "required":
            assert default is inspect.Parameter.empty, name
        elif cell.startswith("`"):
            assert eval(cell.strip("`"), names) == default, name  # noqa: S307  the guides' own
        else:
            assert cell.split(".")[-1] == default.__name__, name  # type: ignore[attr-defined]  # a function


def test_configuration_examples_show_the_defaults() -> None:
    """A block that says that all values are the defaults passes each setting its default."""
    blocks = [block for path in DOCUMENTS for block in blocks_of(path)]
    found = [block for block in blocks if block.code.startswith("# All values are the defaults.")]
    assert len(found) == 3
    for block in found:
        namespace: dict[str, Any] = {}
        exec(block.code, namespace)  # noqa: S102  the guides' own code
        calls = [node for node in ast.walk(ast.parse(block.code)) if isinstance(node, ast.Call)]
        for call in calls:
            expected = defaults_of(SETTINGS[ast.unparse(call.func)])
            for keyword in call.keywords:
                value = eval(ast.unparse(keyword.value), namespace)  # noqa: S307  the guides' own
                assert value == expected[str(keyword.arg)], f"{block.where}: {keyword.arg}"


def test_every_environment_variable_is_described() -> None:
    """The client guide has each SPOTINST variable that the package reads, and no other."""
    package = Path(spot_billing_async.__file__).parent
    source = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    name = re.compile(r"\bSPOTINST_[A-Z_]*[A-Z]")
    assert set(name.findall(GUIDES["client"].read_text("utf-8"))) == set(name.findall(source))


def test_every_error_is_described() -> None:
    """The errors guide has each class of the hierarchy, with its base."""
    text = GUIDES["errors-and-retries"].read_text("utf-8")
    described = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE))
    classes = {
        name: value.__bases__[0].__name__
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    described = {name: base for name, base in described.items() if name.endswith("Error")}
    assert described == classes


def test_every_command_is_described() -> None:
    """The command-line guide has each command of the program."""

    def walk(parent: cyclopts.App, name: str) -> Iterator[str]:
        children = {word: parent[word] for word in parent if not word.startswith("-")}
        if not children:
            yield name
        for word, child in children.items():
            yield from walk(child, f"{name} {word}")

    text = GUIDES["command-line"].read_text("utf-8")
    described = re.findall(r"^\| `(spot-billing[^`]*)` \| (?!default)", text, re.MULTILINE)
    assert sorted(described) == sorted(walk(app, "spot-billing"))
