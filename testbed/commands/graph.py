"""testbed graph: a picture of a lab."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer

from testbed.commands.common import (
    ForceOption,
    NameOption,
    OutOption,
    TopologyOption,
    keep_existing,
    print_note,
    print_notes,
    target,
    write_out,
)
from testbed.drawing.page import page
from testbed.drawing.picture import svg
from testbed.drawing.text import Notes, dot, mermaid
from testbed.errors import UsageError
from testbed.lab.topology import Lab, lab_from, lab_source


def graph(
    context: typer.Context,
    topology: TopologyOption = None,
    name: NameOption = None,
    as_dot: Annotated[bool, typer.Option("--dot", help="for graphviz")] = False,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="a flowchart for mermaid, as in Markdown")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="one page that needs no network")] = False,
    as_svg: Annotated[bool, typer.Option("--svg", help="one picture, as for a document")] = False,
    out: OutOption = None,
    force: ForceOption = False,
) -> None:
    """Draw a lab: hosts, switches by their distance from hosts, sites, and what each link is."""
    chosen: list[Callable[[Lab, Notes], str]] = [
        draw for draw, wanted in ((dot, as_dot), (mermaid, as_mermaid), (page, as_html), (svg, as_svg)) if wanted
    ]
    if len(chosen) != 1:
        raise UsageError("choose one of --dot, --mermaid, --html and --svg")
    if (name is None) == (topology is None):
        raise UsageError("name one lab: -t TOPOLOGY, or --name LAB for one that is running")
    keep_existing([out] if out else [], force)
    lab, notes = _written(topology) if topology is not None else _running(context, str(name))
    write_out(chosen[0](lab, notes), out)
    if out is not None:
        print_note(f"written: {out}")


def _written(topology: str) -> tuple[Lab, Notes]:
    """Return a lab that is not running, of which nothing was changed."""
    source = lab_source(topology)
    print_notes(source)
    return lab_from(source), {}


def _running(context: typer.Context, name: str) -> tuple[Lab, Notes]:
    """Return a running lab, and what was changed by hand, by link."""
    from testbed.control import inspection

    described = asyncio.run(inspection.describe(target(context), name))
    if described["topology"] is None:
        raise UsageError(f"lab {name} was deployed without its description; redeploy it")
    notes: dict[int, str] = {}
    for row in described["by_hand"]:
        note = " ".join([row["port"], *(option.removeprefix("--") for option in row["options"])])
        notes[row["link"]] = f"{notes[row['link']]}, {note}" if row["link"] in notes else note
    return Lab.model_validate(described["topology"]), notes
