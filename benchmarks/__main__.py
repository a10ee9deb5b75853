"""This client, its peers and the floors, side by side in one run: `python -m benchmarks --help`.

Each peer does the same job, bearer auth, GET, typed rows, against the same server; each has a
process of its own, and so has the server. CPU comes from the processes' own accounting; ratios are
taken within one run, as machines are noisy.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.environment import Environment, default_folder
from benchmarks.harness.serving import CHECKOUT
from benchmarks.parts import calls, fanout, growth, lag, parquet, plan, servers
from benchmarks.parts.part import Part, Scale

PARTS: Mapping[str, Callable[[Scale], Part]] = {
    "calls": calls.measure,
    "servers": servers.measure,
    "parquet": parquet.measure,
    "plan": plan.measure,
    "lag": lag.measure,
    "fanout": fanout.measure,
    "growth": growth.measure,
}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this client beside its peers and the floors of its stack.",
        epilog="Peers are installed into a virtual environment of their own, in the user's cache "
        "folder. The other benchmarks are modules: python -m benchmarks.claims.pacing, and so on.",
    )
    parser.add_argument("--quick", action="store_true", help="under two minutes, less exact")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / ".benchmarks", help="folder for JSON and plots"
    )
    parser.add_argument(
        "--peers", type=Path, default=default_folder(), help="folder of the peers' environment"
    )
    return parser.parse_args(words)


def main() -> None:
    """Measure, print, and write what was met; exit 1 where a bar is missed."""
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    scale = Scale(asked.quick, asked.out, Environment(asked.peers))
    described = machine.described()
    described["command"] = f"python -m benchmarks {' '.join(sys.argv[1:])}".rstrip()
    for name, value in described.items():
        print(f"{name:10} {value}")
    began_s = time.monotonic()
    met = {name: PARTS[name](scale) for name in asked.only or PARTS}
    _print(met)
    described["load at the end"] = machine.load()
    path = asked.out / "benchmarks.json"
    path.write_text(json.dumps({"machine": described} | _plain(met), indent=1))
    print(f"\n{time.monotonic() - began_s:.0f} s; all figures: {path}")
    print(f"load: {described['load']}, then {described['load at the end']}: {machine.LOAD_MEANS}")
    sys.exit(not all(figure.is_met for part in met.values() for figure in part.figures))


def _print(met: Mapping[str, Part]) -> None:
    """The figures that have a bar, and what a reader has to know about them."""
    print(f"\n{'what':66} {'met':>12} {'bar':>14}")
    for part in met.values():
        for figure in part.figures:
            print(figure.line())
    for name, part in met.items():
        for note in part.notes:
            print(f"{name}: {note}")


def _plain(met: Mapping[str, Part]) -> dict[str, Any]:
    return {
        name: {
            "figures": [asdict(f) | {"is_met": f.is_met} for f in part.figures],
            "notes": part.notes,
            **part.data,
        }
        for name, part in met.items()
    }


if __name__ == "__main__":
    main()
