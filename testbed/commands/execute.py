"""testbed exec: a program inside a node, or inside all hosts."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from testbed.commands import completion
from testbed.commands.common import LabName, print_note, target
from testbed.errors import DriverError, HostError, UsageError
from testbed.system import output

# As shells have it: POSIX.1-2017, XCU 2.8.2.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
_STATUS = {
    errno.ENOENT: NOT_FOUND,
    errno.ENOTDIR: NOT_FOUND,
    errno.EACCES: NOT_EXECUTABLE,
    errno.ENOEXEC: NOT_EXECUTABLE,
}
# Programs that measure by the wall, and what a lab does to what they say.
_TIMES = (
    "ping",
    "traceroute",
    "qperf",
    "mpiexec",
    "mpiexec.mpich",
    "mpirun",
    "ib_send_lat",
    "ib_write_lat",
    "ib_read_lat",
)
_RATES = ("iperf3", "iperf", "nuttcp", "netperf", "qperf", "ib_send_bw", "ib_write_bw", "ib_read_bw")


def execute(
    context: typer.Context,
    name: LabName,
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="name of the node; not with --all", autocompletion=completion.node)
    ],
    command: Annotated[
        list[str] | None, typer.Argument(help="program and arguments, after --", metavar="-- COMMAND")
    ] = None,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--all",
            help="in every host of this machine at once, without input; TESTBED_RANK, TESTBED_SIZE and TESTBED_HOST tell which",
        ),
    ] = False,
) -> None:
    """Run a program in a node, with this terminal's input and output, and exit with its status; 127 if there is none."""
    from testbed.control import verbs

    words = [node, *(command or ())] if everywhere else list(command or ())
    if not words:
        raise UsageError("a program is missing: testbed exec --name LAB NODE -- PROGRAM …")
    _print_dilation(context, name, words[0])
    try:
        if everywhere:
            statuses = verbs.exec_all(name, words, _write)
            raise typer.Exit(next((status for status in statuses.values() if status), 0))
        status = verbs.exec_in(name, node, words)
    except DriverError as error:
        if error.operation != f"run {words[0]}" or error.errno not in _STATUS:
            raise
        print_note(f"testbed: {error}")
        status = _STATUS[error.errno]
    raise typer.Exit(status)


def _write(host: str, line: bytes) -> None:
    output.write_raw(f"{host}: ".encode() + line)


def _print_dilation(context: typer.Context, lab: str, program: str) -> None:
    """Say once, at a terminal, what a program's figures are where nominal time is slower than the wall's."""
    plain = os.path.basename(program)
    if not sys.stderr.isatty() or plain not in {*_TIMES, *_RATES}:
        return
    import asyncio

    from testbed.control import verbs

    try:
        dilation = asyncio.run(verbs.dilation_of(target(context), lab))
    except HostError:
        return  # it is told where it matters: of a lab whose agent is gone nothing is carried
    if (note := dilation_note(plain, dilation or 1)) is not None:
        print_note(note)


def dilation_note(program: str, dilation: int) -> str | None:
    """Return what the figures of a program are in a lab of such a dilation; None where they are those of the network."""
    if dilation == 1:
        return None
    parts = []
    if program in _TIMES:
        parts.append(f"times that {program} prints are {dilation} times those of the network")
    if program in _RATES:
        parts.append(f"rates that {program} prints are 1/{dilation} of those of the network")
    return f"dilation {dilation}: {', '.join(parts)}" if parts else None
