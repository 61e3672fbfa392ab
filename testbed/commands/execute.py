"""testbed exec: a program inside a node."""

from __future__ import annotations

import errno
from typing import Annotated

import typer

from testbed.commands import completion
from testbed.commands.common import LabName, print_note
from testbed.errors import DriverError

# As shells have it: POSIX.1-2017, XCU 2.8.2.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
_STATUS = {
    errno.ENOENT: NOT_FOUND,
    errno.ENOTDIR: NOT_FOUND,
    errno.EACCES: NOT_EXECUTABLE,
    errno.ENOEXEC: NOT_EXECUTABLE,
}


def execute(
    name: LabName,
    node: Annotated[str, typer.Argument(metavar="NODE", help="name of the node", autocompletion=completion.node)],
    command: Annotated[list[str], typer.Argument(help="program and arguments, after --", metavar="-- COMMAND")],
) -> None:
    """Run a program in a node, with this terminal's input and output, and exit with its status; 127 if there is none."""
    from testbed.control import verbs

    try:
        status = verbs.exec_in(name, node, command)
    except DriverError as error:
        if error.operation != f"run {command[0]}" or error.errno not in _STATUS:
            raise
        print_note(f"testbed: {error}")
        status = _STATUS[error.errno]
    raise typer.Exit(status)
