"""testbed capture: the frames on a link, into a pcapng file."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed import pcapng
from testbed.commands import completion
from testbed.commands.common import ForceOption, LabName, keep_existing, open_new, print_note
from testbed.errors import UsageError, cannot_write

if TYPE_CHECKING:
    from testbed.system import capture_files

_PLUGIN = "testbed.lua"
_LEAST_RING_BYTES = 100_000
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
    ports: Annotated[
        list[str],
        typer.Argument(
            help="nodes and ports: leaf-a:eth1, or patterns: 'leaf[1-4]:eth1', 'border-*:*'",
            metavar="NODE:PORT",
            autocompletion=completion.port,
        ),
    ],
    write: Annotated[str, typer.Option("--write", "-w", help="pcapng file; - for standard output")],
    filter_: Annotated[
        str | None,
        typer.Option("--filter", "-f", help="frames to keep: 'pause or priority 3 and src a1'; see the guide on labs"),
    ] = None,
    snap_length: Annotated[
        int | None, typer.Option("--snap-length", "-s", min=14, max=65_535, help="bytes of each frame to keep")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="end after so many frames")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0, help="end after so much wall time")] = None,
    ring_size: Annotated[
        str | None, typer.Option("--ring-size", help="begin another file at so many bytes: 100MB; files are numbered")
    ] = None,
    ring_frames: Annotated[
        int | None, typer.Option("--ring-frames", min=1, help="begin another file after so many frames")
    ] = None,
    ring_files: Annotated[
        int | None, typer.Option("--ring-files", min=1, max=99_999, help="numbered files to keep, the newest")
    ] = None,
    force: ForceOption = False,
    dissector: DissectorOption = False,
) -> None:
    """Write what crosses links, both ways, into a pcapng file, until Ctrl-C. Each end of a link is an interface of it."""
    from testbed.control import inspection
    from testbed.control.ports import check
    from testbed.system import capture as packet_capture
    from testbed.system import capture_files
    from testbed.system.capture_filter import parse

    check(ports)
    bounds = _bounds(ring_size, ring_frames, ring_files, write)
    if filter_ is not None:
        parse(filter_, None)
    is_ring = bounds is not None
    path = None if write == "-" else Path(write)
    keep_existing((capture_files.existing(path) if is_ring else [path]) if path is not None else [], force)
    points, hosts = asyncio.run(inspection.capture_points(name, ports))
    keeps = None if filter_ is None else parse(filter_, hosts)
    choice = packet_capture.Choice(count, seconds, snap_length or pcapng.SNAP_BYTES, keeps)
    with ExitStack() as stack:
        try:
            sink, reader = _sink(stack, path, bounds, force)
            captured = packet_capture.capture(
                points,
                sink,
                choice,
                reader=reader,
                on_listening=lambda: print_note(f"listening to {', '.join(ports)}; Ctrl-C ends it"),
            )
        except OSError as error:
            raise cannot_write("standard output" if path is None else write, error) from None
    missed = f", {captured.missed:,} missed: this machine is too slow" if captured.missed else ""
    files = sink.kept if isinstance(sink, capture_files.Ring) else [path] if path is not None else []
    where = f", in {', '.join(map(str, files))}" if files else ""
    print_note(f"frames: {captured.frames:,}{missed}{where}")


def _sink(
    stack: ExitStack, path: Path | None, bounds: capture_files.Bounds | None, force: bool
) -> tuple[capture_files.Ring | capture_files.Single, int | None]:
    """Return what frames are written to, and the descriptor of a pipe whose reader may go away. Raises OSError."""
    from testbed.system.capture_files import Ring, Single

    if bounds is not None and path is not None:
        ring = Ring(path, bounds, lambda each: open_new(each, force))
        stack.callback(ring.close)
        return ring, None
    out = sys.stdout.buffer if path is None else stack.enter_context(open_new(path, force))
    return Single(out), None if path is not None and path.is_file() else out.fileno()


def _bounds(size: str | None, frames: int | None, files: int | None, write: str) -> capture_files.Bounds | None:
    """Return what a ring of files is bounded by; None without a ring. Raises UsageError for options that do not fit."""
    from testbed.system.capture_files import Bounds
    from testbed.units import parse_size

    if size is None and frames is None:
        if files is not None:
            raise UsageError("--ring-files needs --ring-size or --ring-frames, which say when a file is full")
        return None
    if write == "-":
        raise UsageError("a ring of files needs a name: -w FILE, which the files have with a number")
    try:
        length = None if size is None else parse_size(size)
    except ValueError as error:
        raise UsageError(f"--ring-size: {error}") from None
    if length is not None and length < _LEAST_RING_BYTES:
        raise UsageError(
            f"--ring-size: {size} is less than {_LEAST_RING_BYTES} bytes, of which a file holds some frames"
        )
    return Bounds(length, frames, files)
