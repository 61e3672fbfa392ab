"""testbed dut: what a script reads from a switch over ssh, asked of a traffic generator that is served."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from testbed.commands.common import Format, FormatOption, print_json


def dut(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="the command, for example: show pfc counters")
    ],
    server: Annotated[str, typer.Option(help="where testbed otg serves")] = "https://127.0.0.1:8443",
    switch: Annotated[str | None, typer.Option("--switch", help="the switch, where the lab has several")] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Show counters, watermarks and buffers of a switch of a served lab, under the columns of SONiC's commands."""
    from testbed.otg.client import Dut

    tables = Dut(server, switch).tables(" ".join(command))
    if format_ is Format.json:
        print_json({"tables": [table.data() for table in tables]})
    else:
        sys.stdout.write("\n".join(table.text() for table in tables))
