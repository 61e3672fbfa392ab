"""testbed capture: the frames on a link, into a pcapng file."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import completion
from testbed.commands.common import ForceOption, LabName, keep_existing, open_new, print_note
from testbed.errors import UsageError, cannot_write

_PLUGIN = "testbed.lua"
# Where Wireshark and tshark look for scripts of a user; see "Files and Folders" in the Wireshark User's Guide.
_PLUGINS = Path(".local/lib/wireshark/plugins")


def _install(wanted: bool) -> None:
    """Install the dissector for the user, and end."""
    if not wanted:
        return
    text = resources.files("testbed.data").joinpath(_PLUGIN).read_text(encoding="utf-8")
    path = Path.home() / _PLUGINS / _PLUGIN
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None
    print(f"{path}: Wireshark and tshark show credit frames and parity packets")
    raise typer.Exit


DissectorOption = Annotated[
    bool,
    typer.Option(
        "--dissector",
        help="install a script by which Wireshark and tshark show credit frames and parity packets, and end",
        is_eager=True,
        callback=_install,
    ),
]


def capture(
    name: LabName,
    port: Annotated[
        str, typer.Argument(help="node and port: leaf-a:eth1", metavar="NODE:PORT", autocompletion=completion.port)
    ],
    write: Annotated[str, typer.Option("--write", "-w", help="pcapng file; - for standard output")],
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="end after so many frames")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0, help="end after so much wall time")] = None,
    force: ForceOption = False,
    dissector: DissectorOption = False,
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
