"""The integration without FastAPI, and without Starlette."""

import subprocess
import sys

import pytest


def output_without(missing: str, code: str) -> str:
    """Run a program without one package, and return what it prints."""
    program = f"import sys; sys.modules[{missing!r}] = None\n{code}"
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_without_its_extra_the_error_names_it() -> None:
    """Without Starlette, importing raises an error that names the extra to install."""
    code = """
from spot_billing_async import MissingExtraError
try:
    import spot_billing_async.fastapi
except MissingExtraError as error:
    print(error)
"""
    assert output_without("starlette", code).endswith("pip install '.[fastapi]'")


@pytest.mark.parametrize("name", ["client_of", "stream_costs", "add_error_handlers"])
def test_starlette_alone_is_enough(name: str) -> None:
    """Without FastAPI, everything but the annotation works."""
    code = f"from spot_billing_async.fastapi import {name}; print({name}.__name__)"
    assert output_without("fastapi", code) == name
