"""Run every case, write docs/validation.md and its plots, and say what is off.

    python -m validation [--only TOPIC]…

With --only nothing is written but the rows of those topics, to standard output. Exit code 1 if a row is off by more
than it may be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from validation import page, plots
from validation.case import Row, Topic
from validation.run import run
from validation.topics import TOPICS

DOCS = Path(__file__).resolve().parent.parent / "docs"


def write(rows: Mapping[str, Sequence[Row]], docs: Path, left: Sequence[Topic] = ()) -> None:
    """Write the page and its plots into a folder; what the page there says of topics that were `left` out stays."""
    (docs / "validation").mkdir(parents=True, exist_ok=True)
    paths = {name: f"validation/{name}.svg" for name in rows if name in plots.PLOTS}
    for name, path in paths.items():
        plots.save(name, rows[name], docs / path)
    file = docs / "validation.md"
    old = file.read_text(encoding="utf-8") if left else ""
    file.write_text(page.render(rows, paths, old, left), encoding="utf-8")


def main() -> int:
    """Parse the command line, run, write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m validation", description="Hold the testbed against what is known.")
    names = [topic.name for topic in TOPICS]
    parser.add_argument("--only", action="append", choices=names, metavar="TOPIC", help=", ".join(names))
    options = parser.parse_args()
    topics = [topic for topic in TOPICS if options.only is None or topic.name in options.only]
    chosen, left = ([topic for topic in topics if topic.is_here is here] for here in (True, False))
    errors = Console(stderr=True)
    for topic in left:
        errors.print(f"{topic.name}: left out, its files are not in {topic.needs}")
    with errors.status("validating") as status:
        rows = run(chosen, status.update)
    if options.only is None:
        write(rows, DOCS, left)
    else:
        print(page.render(rows, {}))
    faults = [fault for measured in rows.values() for row in measured for fault in row.faults()]
    for fault in faults:
        errors.print(fault, style="red")
    count = sum(len(measured) for measured in rows.values())
    errors.print(f"{count} rows, {len(faults)} figures out of tolerance")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
