"""The blocks of README and of docs/: what language each is in, and what the page says of how it is run.

A shell block is run line by line, and each line must end with the exit code that its comment names, or 0. A YAML block,
and a Python block with a title, is written into the file that the title names. An HTML comment before a block says where
else it is run, or why it is not:

    <!-- needs root -->                                by tests/live
    <!-- needs a broker -->                            by tests/live, with mosquitto
    <!-- needs slurm -->                               by tests/live, with a Slurm of its own
    <!-- needs docker -->                              by tests/docker, with an engine of its own
    <!-- to its first frame: reason -->                accepted, but not run to its end
    <!-- not run: reason -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

LANGUAGES = ("sh", "yaml", "python")
MARKS = ("needs root", "needs docker", "needs slurm", "needs a broker", "to its first frame: ", "not run: ")
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*) -->\n+)?^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """One block of a page. `mark` is empty for a block that is simply run."""

    page: str
    language: str
    title: str
    mark: str
    text: str

    def commands(self) -> Iterator[tuple[str, int]]:
        """Yield each command of a shell block with the exit code that it must end with."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command, _, comment = line.partition("   #")
            said = re.search(r"exit code (\d+)", comment)
            if command.strip():
                yield command.strip(), int(said[1]) if said else 0


def pages() -> list[Path]:
    """Return README and every page of the documentation that is written by hand or shows commands."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a page that are in one of the languages, and files of any other, in their order."""
    name = path.relative_to(ROOT).as_posix()
    listed = [
        Block(name, match["language"], match["title"] or "", match["mark"] or "", match["text"])
        for match in _BLOCK.finditer(path.read_text(encoding="utf-8"))
    ]
    return [block for block in listed if block.language in LANGUAGES or block.title]


def marked(mark: str) -> list[Block]:
    """Return every block with a mark."""
    return [block for path in pages() for block in blocks(path) if block.mark == mark]
