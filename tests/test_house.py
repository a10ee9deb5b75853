"""Rules of the codebase itself."""

import ast
import inspect
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import spot_billing_async
from spot_billing_async import SpotBillingClient

TESTS = Path(__file__).parent
PACKAGE = Path(spot_billing_async.__file__).parent
FOLDERS = (PACKAGE, TESTS, TESTS.parent / "benchmarks")

CLAUSE = re.compile(
    r"[\"'(`]*(what|who|whom|whose|whether|how|where|when|which|why|those|that|as|it|they|so|until)\b",
    re.IGNORECASE,
)
"""How a docstring opens that needs its neighbours to be understood."""

OPERATIONS = {
    "accounts": {"list": ["account_id"]},
    "billing_engine": {
        "setup": ["cloud_provider", "billing_account_id", "bucket_name"],
        "validate": ["cloud_provider", "billing_account_id"],
    },
    "cost_intelligence": {
        "setup": ["cloud_provider", "billing_account_id"],
        "validate": ["cloud_provider", "billing_account_id"],
    },
    "costs": {
        "get": ["account_id", "from_date", "to_date", "group_by", "item_type"],
        "pull": ["plan", "item_type", "ordered", "deadline_s", "max_requests"],
    },
    "families": {
        "create": ["name", "description", "account_ids"],
        "delete": ["family_id"],
        "get": ["family_id"],
        "list": [],
        "update": ["family_id", "name", "description", "account_ids"],
    },
}
"""The parameters of each operation, by resource."""


def test_all_names_are_there_and_sorted() -> None:
    """`__all__` has each public name of the package once, in order."""
    names = spot_billing_async.__all__
    assert names == sorted(set(names))
    beside = {
        name
        for name, value in vars(spot_billing_async).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert beside == set(names) - {"__version__"}


def test_every_public_class_is_documented() -> None:
    """Each exported class has a docstring."""
    for name in spot_billing_async.__all__:
        value = getattr(spot_billing_async, name)
        if isinstance(value, type):
            assert value.__doc__, name


def test_importing_the_package_imports_no_extra() -> None:
    """Importing the core imports no package of an extra."""
    extras = {"cyclopts", "rich", "deltalake", "duckdb", "pyarrow"}
    extras |= {"fastapi", "starlette", "redis", "opentelemetry"}
    code = f"import sys, spot_billing_async; print(*({extras} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)  # noqa: S603  our own code
    assert done.stdout.split() == []


def test_every_test_states_its_rule() -> None:
    """Each test function has a docstring."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                stated = not node.name.startswith("test_") or ast.get_docstring(node)
                assert stated, f"{path.name}: {node.name}"


def _docstrings() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each docstring of package, tests and benchmarks."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for path in (path for folder in FOLDERS for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, documented) and (text := ast.get_docstring(node)):
                line = getattr(node, "lineno", 1)
                yield f"{path.relative_to(TESTS.parent)}:{line}", text.splitlines()[0]


def test_no_docstring_opens_with_a_clause() -> None:
    """A docstring opens with a verb or a noun phrase, so that it can be read on its own."""
    found = [f"{place}: {line}" for place, line in _docstrings() if CLAUSE.match(line)]
    assert not found, "\n".join([f"{len(found)} docstrings:", *found[:20]])


@pytest.mark.parametrize("resource", OPERATIONS)
def test_help_shows_every_resource(resource: str) -> None:
    """`dir(SpotBillingClient)` lists a resource, and `help` shows its docstring."""
    assert resource in dir(SpotBillingClient)
    documented = inspect.getdoc(getattr(SpotBillingClient, resource))
    assert documented
    shown = pydoc.plain(pydoc.render_doc(SpotBillingClient))
    assert resource in shown
    assert documented.splitlines()[0] in shown


@pytest.mark.parametrize(
    ("resource", "operation"),
    [(name, each) for name, found in OPERATIONS.items() for each in found],
)
def test_operations_show_their_parameters(resource: str, operation: str) -> None:
    """The signature of an operation names its parameters, and its docstring describes each."""
    client = SpotBillingClient("token")
    method = getattr(getattr(client, resource), operation)
    parameters = list(inspect.signature(method).parameters)
    assert parameters == OPERATIONS[resource][operation]
    documented = inspect.getdoc(method) or ""
    assert [name for name in parameters if f"{name}:" not in documented] == []


def test_no_test_imports_the_benchmarks() -> None:
    """Code that tests and benchmarks share is in the tests' support or in the package."""
    users = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if "benchmarks" in _imported(node)
    }
    assert users == set()


def test_two_files_use_the_http_client() -> None:
    """Only transport and connections use aiohttp's client; the facade names a session's type."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if "aiohttp" in _imported(node)
    }
    assert {user for user in users if not user.startswith("emulator/")} == {
        "_core/http/connections.py",
        "_core/http/transport.py",
        "client.py",
    }
    facade = (PACKAGE / "client.py").read_text("utf-8")
    assert set(re.findall(r"\baiohttp\.\w+", facade)) == {"aiohttp.ClientSession"}


def test_one_file_uses_deltalake() -> None:
    """Only `table.storage.delta` imports deltalake, and translates its errors."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if "deltalake" in _imported(node)
    }
    assert users == {"table/storage/delta.py"}


def _imported(node: ast.AST) -> set[str]:
    """Return the top-level packages that a statement imports from."""
    match node:
        case ast.Import(names=names):
            return {alias.name.split(".")[0] for alias in names}
        case ast.ImportFrom(module=str(module), level=0):
            return {module.split(".")[0]}
        case _:
            return set()
