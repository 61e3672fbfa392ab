"""testbed broker: a real MQTT broker for labs that several machines or people share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


@app.command(epilog=example("testbed broker up --agent lab1"))
def up(
    directory: DirectoryOption = None,
    bind: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8883,
    name: Annotated[
        list[str] | None, typer.Option("--host", help="a name or address by which clients know this machine")
    ] = None,
    agent: Annotated[list[str] | None, typer.Option("--agent", help="name of an agent that may serve here")] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Start the broker, or start it again with other settings; keys and passwords stay."""
    from testbed.bus import mosquitto

    place = _directory(directory)
    users = mosquitto.up(place, mosquitto.Listener(bind, port, tuple(name or ())), agent or ["agent"])
    url = f"mqtts://{(name or ['localhost'])[0]}:{port}"
    if format_ is Format.json:
        print_json({"url": url, "ca": str(place / "ca.pem"), "credentials": users})
        return
    print(f"broker {url}, authority {place / 'ca.pem'}")
    for user, path in users.items():
        print(f"  {user:<12} {path}")


@app.command(epilog=example("testbed broker status"))
def status(directory: DirectoryOption = None) -> None:
    """Show whether the broker runs; exit code 3 if not."""
    from testbed.bus import mosquitto

    process = mosquitto.running(_directory(directory))
    print("no broker is running" if process is None else f"the broker is running, process {process}")
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
