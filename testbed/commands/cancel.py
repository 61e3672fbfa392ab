"""testbed cancel: the end of a run whose command is gone."""

from __future__ import annotations

import asyncio

import typer

from testbed.commands.common import Format, FormatOption, LabName, print_json, target


def cancel(context: typer.Context, name: LabName, format_: FormatOption = Format.table) -> None:
    """End the run on a lab, whoever started it; the lab stays up."""
    from testbed.control import verbs

    answer = asyncio.run(verbs.cancel(target(context), name))
    if format_ is Format.json:
        print_json(answer)
        return
    print(f"the run on lab {name} was cancelled" if answer["changed"] else f"no run on lab {name}")
