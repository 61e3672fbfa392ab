"""testbed report: results of runs and sweeps as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.commands.common import ForceOption, OutOption, keep_existing, print_note, write_out
from testbed.report.page import file
from testbed.report.page.reading import read_all


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT…", help="run.json, sweep.json, or directories that hold one")
    ],
    out: OutOption = None,
    force: ForceOption = False,
) -> None:
    """Write results as one HTML page that needs no network: verdict, pictures, tables; several runs side by side."""
    keep_existing([out] if out else [], force)
    write_out(file.page(read_all(results)), out)
    if out is not None:
        print_note(f"written: {out}")
