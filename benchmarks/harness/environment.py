"""A virtual environment for peers, so that they are not installed into this project's one.

It is kept between runs, in the user's cache folder, and installs only what is missing. Libraries of
both this client and peers have the same version in both environments.
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
_INSTALL_TIMEOUT_S = 300.0


def default_folder() -> Path:
    """Return the environment's default folder; each version of Python has its own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = "{}.{}.{}".format(*sys.version_info)
    return cache / "spot-billing-async" / f"benchmark-peers-{version}"


def pinned(names: Sequence[str] = SAME_AS_HERE) -> list[str]:
    """Return requirements of exactly the versions that this interpreter has."""
    return [f"{name}=={metadata.version(name)}" for name in names]


class Environment:
    """A virtual environment, which is created by its first installation.

    Args:
        folder: its folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = folder / "installed.json"

    @property
    def python(self) -> str:
        """Path of its interpreter."""
        return self.program("python")

    def program(self, name: str) -> str:
        """Return the path of a program that is installed in it."""
        return str(self._folder / "bin" / name)

    def install(self, requirements: Sequence[str]) -> None:
        """Install requirements, unless an earlier run has.

        Raises:
            PeerError: they cannot be installed; the message is the reason.
        """
        key = " ".join([*requirements, *pinned()])
        installed = json.loads(self._record.read_text()) if self._record.exists() else []
        if key in installed:
            return
        if not self._record.exists():
            self._create()
        constraints = self._folder / "constraints.txt"
        constraints.write_text("\n".join(pinned()))
        self._pip("install", "-q", "-c", str(constraints), *requirements)
        self._record.write_text(json.dumps([*installed, key]))

    def _create(self) -> None:
        try:
            venv.create(self._folder, clear=True, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PeerError(f"its virtual environment cannot be created: {error}") from error

    def _pip(self, *words: str) -> None:
        command = [self.python, "-m", "pip", "--disable-pip-version-check", *words]
        try:
            done = subprocess.run(  # noqa: S603  the environment's own pip
                command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"pip did not finish within {_INSTALL_TIMEOUT_S:.0f} s") from error
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise PeerError(" ".join(errors[-1:]) or "pip failed")
