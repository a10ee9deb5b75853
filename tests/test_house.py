"""Rules of the codebase itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import spot_billing_async

TESTS = Path(__file__).parent
PACKAGE = Path(spot_billing_async.__file__).parent


def test_all_names_are_there_and_sorted() -> None:
    """`__all__` is what a star import gives, each name once, and no other name is beside it."""
    names = spot_billing_async.__all__
    assert names == sorted(set(names))
    beside = {
        name
        for name, value in vars(spot_billing_async).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert beside == set(names) - {"__version__"}


def test_every_public_class_is_documented() -> None:
    """Each class that is exported has a docstring."""
    for name in spot_billing_async.__all__:
        value = getattr(spot_billing_async, name)
        if isinstance(value, type):
            assert value.__doc__, name


def test_importing_the_package_imports_no_extra() -> None:
    """The core stands without what the extras bring."""
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


def test_no_test_imports_the_benchmarks() -> None:
    """Code that tests and benchmarks share is in the tests' support or in the package."""
    users = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if "benchmarks" in _imported(node)
    }
    assert users == set()


def test_one_file_uses_the_http_client() -> None:
    """Aiohttp is the transport's; the facade names a session's type, the emulator serves."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if "aiohttp" in _imported(node)
    }
    assert {user for user in users if not user.startswith("emulator/")} == {
        "_core/http/transport.py",
        "client.py",
    }
    facade = (PACKAGE / "client.py").read_text("utf-8")
    assert set(re.findall(r"\baiohttp\.\w+", facade)) == {"aiohttp.ClientSession"}


def test_one_file_uses_deltalake() -> None:
    """What it raises is translated there, and that it blocks is known of that file alone."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if "deltalake" in _imported(node)
    }
    assert users == {"table/storage/delta.py"}


def _imported(node: ast.AST) -> set[str]:
    """The top-level packages that a statement imports from."""
    match node:
        case ast.Import(names=names):
            return {alias.name.split(".")[0] for alias in names}
        case ast.ImportFrom(module=str(module), level=0):
            return {module.split(".")[0]}
        case _:
            return set()
