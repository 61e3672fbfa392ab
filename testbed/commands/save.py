"""testbed save: a running lab as a file."""

from __future__ import annotations

import asyncio

import typer

from testbed.commands.common import ForceOption, LabName, OutOption, keep_existing, print_note, target, write_out
from testbed.control.saved import lab_file


def save(context: typer.Context, name: LabName, out: OutOption = None, force: ForceOption = False) -> None:
    """Write the lab file of a running lab, with the commands that deployed it and changed it by hand."""
    from testbed.control import inspection

    keep_existing([out] if out else [], force)
    description = asyncio.run(inspection.describe(target(context), name))
    write_out(lab_file(description, str(out or f"{name}.yaml")), out)
    if out is not None:
        print_note(f"written: {out}")
