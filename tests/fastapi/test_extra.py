"""What of it works without which package."""

import subprocess
import sys

import pytest


def said(code: str, missing: str) -> str:
    """What a program prints where a package is missing."""
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
    """It is one of the package's own."""
    code = """
from spot_billing_async import MissingExtraError
try:
    import spot_billing_async.fastapi
except MissingExtraError as error:
    print(error)
"""
    assert said(code, "starlette").endswith("pip install 'spot-billing-async[fastapi]'")


@pytest.mark.parametrize("name", ["client_of", "stream_costs", "add_error_handlers"])
def test_starlette_alone_is_enough(name: str) -> None:
    """FastAPI is asked for by its own annotation alone."""
    code = f"from spot_billing_async.fastapi import {name}; print({name}.__name__)"
    assert said(code, "fastapi") == name
