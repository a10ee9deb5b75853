"""Blocks and tables of the README and the guides."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDES = {path.stem: path for path in (ROOT / "spot_billing_async" / "guides").glob("*.md")}
DOCUMENTS = [README, *sorted(GUIDES.values())]


class Block(NamedTuple):
    """A fenced block of a document.

    Attributes:
        where: document and line.
        kind: language of the fence.
        code: text between the fences.
    """

    where: str
    kind: str
    code: str


def blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text("utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(f"{path.name}:{line}", match[1], match[2])


def commands(start: str) -> list[str]:
    """Return the lines of all shell blocks that begin with a command."""
    blocks = (block for path in DOCUMENTS for block in blocks_of(path) if block.kind == "sh")
    lines = (line for block in blocks for line in block.code.splitlines())
    return [line for line in lines if line.startswith(start)]


class Table(NamedTuple):
    """A table of settings in a document.

    Attributes:
        name: code in the first cell of the header.
        rows: cells of each row.
    """

    name: str
    rows: list[list[str]]


def tables_of(path: Path) -> Iterator[Table]:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for match in re.finditer(
        r"^\| `([^`]+)` \| default \|.*\n\|.*\n((?:\|.*\n?)+)", text, re.MULTILINE
    ):
        rows = [row.strip("| ").split(" | ") for row in match[2].splitlines()]
        yield Table(match[1], [[cell.strip() for cell in row] for row in rows])
