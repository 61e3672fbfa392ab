"""testbed graph: a picture of a lab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands.common import TopologyOption, say, write_out
from testbed.drawing.page import page
from testbed.drawing.text import Notes, dot, mermaid
from testbed.errors import UsageError
from testbed.topology import Lab, load_lab

OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="file to write; standard output without it")]


def graph(
    topology: TopologyOption = None,
    as_dot: Annotated[bool, typer.Option("--dot", help="for graphviz")] = False,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="a flowchart for mermaid, as in Markdown")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="one page that needs no network")] = False,
    out: OutOption = None,
) -> None:
    """Draw a lab: hosts, switches by their distance from hosts, sites, and what each link is."""
    chosen: list[Callable[[Lab, Notes], str]] = [
        draw for draw, asked in ((dot, as_dot), (mermaid, as_mermaid), (page, as_html)) if asked
    ]
    if len(chosen) != 1:
        raise UsageError("say how to draw: one of --dot, --mermaid and --html")
    if topology is None:
        raise UsageError("no lab given: name one with -t, for example -t two-dc")
    write_out(chosen[0](load_lab(topology), {}), out)
    if out is not None:
        say(f"written: {out}")
