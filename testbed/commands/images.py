"""testbed images: what nodes are made of where they are containers."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed.commands.common import Format, FormatOption, print_json, print_note
from testbed.commands.help import example
from testbed.lab.containers import DEFAULT_IMAGES

app = typer.Typer(help="Build the images of nodes, for labs of containers.", no_args_is_help=True)


@app.callback()
def images() -> None:
    """Images of nodes for labs of containers."""


@app.command(epilog=example("testbed images build"))
def build(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="KIND", help="kinds of node; all if none is named")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="image to build on, instead of Debian's base system")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="fetch or make the base anew")] = False,
    missing: Annotated[bool, typer.Option("--missing", help="only what is not there yet")] = False,
    format_: FormatOption = Format.table,
) -> None:
    """Build the images, on a Debian base from a registry, or from debootstrap where no registry can be reached."""
    from testbed.drivers import images as maker

    chosen = list(kinds or DEFAULT_IMAGES)
    if missing:
        chosen = maker.missing(chosen)
    made = maker.build(chosen, base, fresh, print_note) if chosen else []
    if format_ is Format.json:
        print_json({"images": made})
    else:
        print("\n".join(made) or "all images are there")
