"""Rules of the codebase itself."""

import ast
from pathlib import Path

import spot_billing_async

TESTS = Path(__file__).parent
PACKAGE = Path(spot_billing_async.__file__).parent


def test_all_names_are_there_and_sorted() -> None:
    """`__all__` is what a star import gives, in order, and nothing public is beside it."""
    names = spot_billing_async.__all__
    assert names == sorted(names)
    for name in names:
        assert getattr(spot_billing_async, name) is not None


def test_every_public_class_says_where_it_is_public() -> None:
    """What is exported is a class, a type or the version, with a docstring of its own."""
    for name in spot_billing_async.__all__:
        value = getattr(spot_billing_async, name)
        if isinstance(value, type):
            assert value.__doc__, name


def test_every_test_states_its_rule() -> None:
    """Each test function has a docstring."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                stated = not node.name.startswith("test_") or ast.get_docstring(node)
                assert stated, f"{path.name}: {node.name}"


def test_one_file_uses_the_http_client() -> None:
    """Aiohttp's client is named in session.py alone; the facade names its session's type."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(
            isinstance(node, ast.Import) and any(alias.name == "aiohttp" for alias in node.names)
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
        )
    }
    assert users == {"session.py", "client.py"}
