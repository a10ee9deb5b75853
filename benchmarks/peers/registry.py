"""Registry of the peers and their requirements."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.contract import (
    generate_with_openapi_generator,
    generate_with_openapi_python_client,
)
from benchmarks.harness.environment import SAME_AS_HERE, Environment
from benchmarks.harness.processes import Peer, PeerError

BARE, RAW, GET, PULL = "aiohttp + msgspec", "raw protocol + msgspec", "costs.get", "costs.pull"
GENERATED = "openapi-generator"
BY_HAND = "httpx + pydantic"
_ON_UVLOOP = ", uvloop"


@dataclass(frozen=True)
class Guest:
    """A peer with requirements that this project does not have.

    Attributes:
        name: its name in tables.
        module: its module in `benchmarks.peers`.
        requires: distributions that pip installs for it.
        generate: function that generates its package into a folder; None where it has none.
        loop: `asyncio` or `uvloop`.
        concurrency: number of concurrent calls.
    """

    name: str
    module: str
    requires: tuple[str, ...]
    generate: Callable[[Environment, Path], None] | None = None
    loop: str = "asyncio"
    concurrency: int = 16


GUESTS = (
    Guest(
        GENERATED,
        "generated_aiohttp",
        ("aiohttp", "aiohttp-retry", "pydantic", "python-dateutil", "typing-extensions"),
        generate_with_openapi_generator,
    ),
    Guest(
        "openapi-python-client",
        "generated_httpx",
        ("httpx", "attrs", "python-dateutil"),
        generate_with_openapi_python_client,
    ),
    Guest(BY_HAND, "httpx_pydantic", ("httpx", "pydantic")),
    Guest("spotinst-sdk2, 32 threads", "vendor_sdk", ("spotinst-sdk2",), concurrency=32),
    *(
        Guest(f"{name}{_ON_UVLOOP}", module, (*SAME_AS_HERE, "uvloop"), loop="uvloop")
        for name, module in ((BARE, "bare"), (GET, "this_get"), (PULL, "this_pull"))
    ),
)


def project_peers() -> list[Peer]:
    """Return the peers that have this project's requirements only: the floors first."""
    modules = {BARE: "bare", RAW: "raw", GET: "this_get", PULL: "this_pull"}
    return [Peer(name, module, sys.executable) for name, module in modules.items()]


def prepare_guests(environment: Environment, folder: Path) -> tuple[list[Peer], list[str]]:
    """Prepare the other peers; generated code is written to a folder.

    Returns:
        The peers that are ready, and for each other one the reason.
    """
    peers, missing = [], []
    for guest in GUESTS:
        try:
            peers.append(_ready(guest, environment, folder))
        except PeerError as error:
            missing.append(f"{guest.name}: {error}")
    return peers, missing


def _ready(guest: Guest, environment: Environment, folder: Path) -> Peer:
    environment.install(guest.requires)
    path: tuple[str, ...] = ()
    if guest.generate is not None:
        generated = folder / guest.module
        generated.mkdir()
        guest.generate(environment, generated)
        path = (str(generated),)
    return Peer(guest.name, guest.module, environment.python, path, guest.loop, guest.concurrency)
