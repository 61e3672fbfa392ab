"""testbed broker: a real MQTT broker for labs that several machines or people share."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from testbed.bus import websockets as over_websockets
from testbed.commands.common import Format, FormatOption, print_json
from testbed.commands.help import example

app = typer.Typer(
    help="Start, show and stop a mosquitto with TLS, users and access control, for agents, controllers and readers."
)

DirectoryOption = Annotated[
    Path | None, typer.Option("--dir", help="directory of its keys, passwords and configuration")
]


def _directory(given: Path | None) -> Path:
    from testbed.bus import mosquitto

    return (given or mosquitto.default_directory()).absolute()


@app.callback(no_args_is_help=True)
def broker() -> None:
    """A mosquitto with TLS, users and access control for agents, controllers and readers."""


class _Up(TyperCommand):
    """Takes the option for websockets without a value too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, each such option with the address that is meant."""
        return super().parse_args(ctx, _complete(args))


def _complete(args: list[str]) -> list[str]:
    """Return arguments with an address behind each option for websockets."""
    given = []
    for argument, following in zip_longest(args, args[1:], fillvalue="-"):
        given.append(argument)
        if argument == over_websockets.OPTION and following.startswith("-"):
            given.append(over_websockets.DEFAULT)
    return given


@app.command(cls=_Up, epilog=example("testbed broker up --agent lab1"))
def up(
    directory: DirectoryOption = None,
    bind: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8883,
    name: Annotated[
        list[str] | None, typer.Option("--host", help="a name or address by which clients know this machine")
    ] = None,
    agent: Annotated[list[str] | None, typer.Option("--agent", help="name of an agent that may serve here")] = None,
    websockets: Annotated[
        str | None,
        typer.Option(
            over_websockets.OPTION,
            metavar="[ADDRESS:PORT]",
            help=f"listen for MQTT over websockets too, for pages in a browser: at {over_websockets.DEFAULT} unless told",
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain-websockets", help="websockets without TLS; on loopback alone")
    ] = False,
    format_: FormatOption = Format.table,
) -> None:
    """Start the broker, or start it again with other settings; keys and passwords stay."""
    from testbed.bus import mosquitto

    place = _directory(directory)
    if plain and websockets is None:
        websockets = over_websockets.DEFAULT
    pages = None if websockets is None else over_websockets.read(websockets, plain)
    listener = mosquitto.Listener(bind, port, tuple(name or ()), pages)
    users = mosquitto.up(place, listener, agent or ["agent"])
    url = f"mqtts://{listener.name}:{port}"
    if format_ is Format.json:
        more = {"websockets": listener.page_url} if pages else {}
        print_json({"url": url, **more, "ca": str(place / "ca.pem"), "credentials": users})
        return
    print(f"broker {url}, authority {place / 'ca.pem'}")
    if listener.page_url is not None:
        print(f"websockets for pages: {listener.page_url}")
    for user, path in users.items():
        print(f"  {user:<12} {path}")


@app.command(epilog=example("testbed broker status"))
def status(directory: DirectoryOption = None) -> None:
    """Show whether the broker runs; exit code 3 if not."""
    from testbed.bus import mosquitto

    place = _directory(directory)
    process, page_url = mosquitto.running(place), mosquitto.websockets_url(place)
    pages = f", websockets for pages at {page_url}" if page_url else ""
    print("no broker is running" if process is None else f"the broker is running, process {process}{pages}")
    raise typer.Exit(0 if process is not None else 3)


@app.command(epilog=example("testbed broker down --purge"))
def down(
    directory: DirectoryOption = None,
    purge: Annotated[bool, typer.Option("--purge", help="remove its keys and passwords too")] = False,
) -> None:
    """End the broker."""
    from testbed.bus import mosquitto

    place = _directory(directory)
    was_there = mosquitto.remove(place) if purge else mosquitto.down(place)
    print("the broker has stopped" if was_there else "no broker was running")
