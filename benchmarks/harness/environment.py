"""An environment for peers, so that this project's own stays as it is.

It is kept between runs, in the user's cache folder; what is there already is not installed again.
What peers and this client both stand on has the same version in both environments.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.harness.processes import PeerError

SAME_AS_HERE = ("aiohttp", "anyio", "msgspec")
_PATIENCE_S = 300.0


def default_folder() -> Path:
    """Where it is kept: one for each version of Python."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = "{}.{}.{}".format(*sys.version_info)
    return cache / "spot-billing-async" / f"benchmark-peers-{version}"


def pinned(names: Sequence[str] = SAME_AS_HERE) -> list[str]:
    """Requirements of exactly the versions that this interpreter has."""
    return [f"{name}=={metadata.version(name)}" for name in names]


class Environment:
    """A virtual environment that is made when something is to be installed.

    Args:
        folder: where it is, or is to be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._books = folder / "installed.json"

    @property
    def python(self) -> str:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> str:
        """A program of its own."""
        return str(self._folder / "bin" / name)

    def install(self, requirements: Sequence[str]) -> None:
        """Have some requirements there.

        Raises:
            PeerError: they cannot be installed.
        """
        key = " ".join([*requirements, *pinned()])
        installed = json.loads(self._books.read_text()) if self._books.exists() else []
        if key in installed:
            return
        if not self._books.exists():
            self._create()
        constraints = self._folder / "constraints.txt"
        constraints.write_text("\n".join(pinned()))
        self._pip("install", "-q", "-c", str(constraints), *requirements)
        self._books.write_text(json.dumps([*installed, key]))

    def _create(self) -> None:
        try:
            venv.create(self._folder, clear=True, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PeerError(f"no environment can be made for it: {error}") from error

    def _pip(self, *words: str) -> None:
        command = [self.python, "-m", "pip", "--disable-pip-version-check", *words]
        try:
            done = subprocess.run(  # noqa: S603  the environment's own pip
                command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PeerError("installing it took too long") from error
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise PeerError(" ".join(errors[-1:]) or "it cannot be installed")
