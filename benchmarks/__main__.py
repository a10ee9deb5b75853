"""This client, its peers and the floors of its stack in one run: `python -m benchmarks --help`.

Each peer does the same work (bearer auth, GET, typed rows) with the same server. Each peer and the
server have processes of their own, which measure their own CPU. Ratios are taken within one run,
because the speed of machines varies.
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


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `--help` and errors exit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this client, its peers and the floors of its stack.",
        epilog="Peers are installed into a virtual environment in the user's cache folder. "
        "Each other figure has a module in benchmarks.claims, which takes --quick.",
    )
    parser.add_argument("--quick", action="store_true", help="less exact, in about two minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / ".benchmarks", help="folder for JSON and plots"
    )
    parser.add_argument(
        "--peers", type=Path, default=default_folder(), help="folder of the peers' environment"
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print figures, and write them to a file; exit 1 where a bar is missed."""
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    scale = Scale(options.quick, options.out, Environment(options.peers))
    machine_facts = machine.description()
    machine_facts["command"] = f"python -m benchmarks {' '.join(sys.argv[1:])}".rstrip()
    for name, value in machine_facts.items():
        print(f"{name:10} {value}")
    began_s = time.monotonic()
    results = {name: PARTS[name](scale) for name in options.only or PARTS}
    _print(results)
    machine_facts["load at the end"] = machine.load()
    path = options.out / "benchmarks.json"
    path.write_text(json.dumps({"machine": machine_facts} | _json_data(results), indent=1))
    print(f"\n{time.monotonic() - began_s:.0f} s; all figures: {path}")
    loads = f"{machine_facts['load']}, then {machine_facts['load at the end']}"
    print(f"load: {loads}; {machine.LOAD_NOTE}")
    sys.exit(not all(figure.is_met for part in results.values() for figure in part.figures))


def _print(results: Mapping[str, Part]) -> None:
    """Print the figures that have a bar, and the notes."""
    print(f"\n{'figure':66} {'value':>12} {'bar':>14}")
    for part in results.values():
        for figure in part.figures:
            print(figure.line())
    for name, part in results.items():
        for note in part.notes:
            print(f"{name}: {note}")


def _json_data(results: Mapping[str, Part]) -> dict[str, Any]:
    return {
        name: {
            "figures": [asdict(f) | {"is_met": f.is_met} for f in part.figures],
            "notes": part.notes,
            **part.data,
        }
        for name, part in results.items()
    }


if __name__ == "__main__":
    main()
