"""testbed destroy: a lab, or everything, out of the system."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from testbed.commands.common import (
    Format,
    FormatOption,
    NameOption,
    TopologyOption,
    interruptible,
    one_lab,
    print_json,
    target,
)
from testbed.errors import UsageError


def destroy(
    context: typer.Context,
    topology: TopologyOption = None,
    name: NameOption = None,
    all_: Annotated[bool, typer.Option("--all", help="every lab, and the local agent")] = False,
    format_: FormatOption = Format.table,
) -> None:
    """Take a lab down, or all of them; touches nothing that is not the testbed's."""
    from testbed.control import verbs

    if all_ and (name or topology):
        raise UsageError("--all destroys every lab; give it alone, or name one lab")
    agent = target(context)
    if all_:
        rows = asyncio.run(verbs.destroy_all(agent))
    else:
        with interruptible() as fate:
            rows = [asyncio.run(verbs.destroy(agent, one_lab(name, topology), fate))]
    if format_ is Format.json:
        print_json({"labs": rows})
        return
    for row in rows:
        print(f"lab {row['lab']} {'is gone' if row['changed'] else 'was not there'}")
    if not rows:
        print("no lab was deployed")
