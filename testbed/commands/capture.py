"""testbed capture: the frames on a link, into a pcapng file."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import completion
from testbed.commands.common import ForceOption, LabName, keep_existing, open_new, print_note
from testbed.errors import UsageError, cannot_write


def capture(
    name: LabName,
    port: Annotated[
        str, typer.Argument(help="node and port: leaf-a:eth1", metavar="NODE:PORT", autocompletion=completion.port)
    ],
    write: Annotated[str, typer.Option("--write", "-w", help="pcapng file; - for standard output")],
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="end after so many frames")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0, help="end after so much wall time")] = None,
    force: ForceOption = False,
) -> None:
    """Write what crosses a link, both ways, into a pcapng file, until Ctrl-C. Each end of the link is an interface of it."""
    from testbed.control import inspection
    from testbed.lab.endpoints import parse_endpoint
    from testbed.system import capture as packet_capture

    try:
        end = parse_endpoint(port)
    except ValueError as error:
        raise UsageError(f"{port}: {error}") from None
    keep_existing([Path(write)] if write != "-" else [], force)
    points = asyncio.run(inspection.capture_points(name, end.node, end.port))
    with ExitStack() as stack:
        try:
            out = sys.stdout.buffer if write == "-" else stack.enter_context(open_new(Path(write), force))
        except OSError as error:
            raise cannot_write(write, error) from None
        try:
            captured = packet_capture.capture(
                points,
                out,
                count=count,
                seconds=seconds,
                on_listening=lambda: print_note(f"listening to {end}; Ctrl-C ends it"),
            )
        except OSError as error:
            raise cannot_write("standard output" if write == "-" else write, error) from None
    missed = f", {captured.missed:,} missed: this machine is too slow" if captured.missed else ""
    print_note(f"frames: {captured.frames:,}{missed}{'' if write == '-' else f', in {write}'}")
