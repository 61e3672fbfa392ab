"""testbed exec: a program inside a node."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed.commands.common import LabName


def execute(
    name: LabName,
    node: Annotated[str, typer.Argument(help="name of the node")],
    command: Annotated[list[str], typer.Argument(help="program and arguments, after --", metavar="-- CMD…")],
) -> None:
    """Run a program in a node, with this terminal's input and output, and exit with its status."""
    from testbed import controller

    raise typer.Exit(controller.exec_in(name, node, command))
