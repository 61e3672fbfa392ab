"""testbed impair: how a link of a running lab is, changed by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from rich.table import Table

from testbed.commands import completion
from testbed.commands.common import Format, FormatOption, LabName, console, print_json, target
from testbed.commands.help import example
from testbed.errors import UsageError
from testbed.experiment.impairments import Direction
from testbed.report.tables import empty_table

app = typer.Typer(help="Change, show or reset the link at a port of a running lab.", no_args_is_help=True)

PortArgument = Annotated[
    str, typer.Argument(help="node and port: leaf-a:eth1", metavar="NODE:PORT", autocompletion=completion.port)
]
DirectionOption = Annotated[
    Direction, typer.Option("--direction", help="what the port sends (out), receives (in), or both")
]


@app.command("set", epilog=example("testbed impair set --name two-dc border-a:eth2 --delay 2ms --loss 1%"))
def set_(
    context: typer.Context,
    name: LabName,
    port: PortArgument,
    delay: Annotated[str | None, typer.Option(help="one way: 2ms")] = None,
    jitter: Annotated[str | None, typer.Option(help="added to the delay, up to so much: 10us")] = None,
    loss: Annotated[str | None, typer.Option(help="share of the frames: 1% or 1e-4")] = None,
    burst: Annotated[float | None, typer.Option(help="frames that are lost in a row on average, with --loss")] = None,
    ber: Annotated[str | None, typer.Option(help="bit error ratio before the FEC, on a link with a profile")] = None,
    osnr_db: Annotated[float | None, typer.Option("--osnr-db", help="on a coherent link with a profile")] = None,
    margin_db: Annotated[float | None, typer.Option("--margin-db", help="on a link with a profile")] = None,
    rate: Annotated[str | None, typer.Option(help="at most that of the link: 50G")] = None,
    lanes_down: Annotated[int | None, typer.Option("--lanes-down", help="on a link with a profile")] = None,
    down: Annotated[bool | None, typer.Option("--down/--up", help="take the link down, or up again")] = None,
    drain: Annotated[bool | None, typer.Option("--drain/--no-drain", help="send nothing new on the link")] = None,
    direction: DirectionOption = "both",
    format_: FormatOption = Format.table,
) -> None:
    """Change a link now; settings that are not named stay as they are."""
    given = {
        "delay": delay,
        "jitter": jitter,
        "loss": loss,
        "burst": burst,
        "ber": ber,
        "osnr-db": osnr_db,
        "margin-db": margin_db,
        "rate": rate,
        "lanes-down": lanes_down,
        "down": down,
        "drain": drain,
    }
    settings = {key: value for key, value in given.items() if value is not None}
    if not settings:
        raise UsageError(f"nothing to set; give at least one of {', '.join('--' + key for key in given)}")
    _impair(context, name, port, "set", direction, settings, format_)


@app.command(epilog=example("testbed impair show --name two-dc border-a:eth2"))
def show(
    context: typer.Context,
    name: LabName,
    port: PortArgument,
    direction: DirectionOption = "both",
    format_: FormatOption = Format.table,
) -> None:
    """Show a link as it was asked for, as it is configured, and as it was measured."""
    _impair(context, name, port, "show", direction, {}, format_)


@app.command(epilog=example("testbed impair reset --name two-dc border-a:eth2"))
def reset(
    context: typer.Context,
    name: LabName,
    port: PortArgument,
    direction: DirectionOption = "both",
    format_: FormatOption = Format.table,
) -> None:
    """Reset a link to what was planned."""
    _impair(context, name, port, "reset", direction, {}, format_)


def _impair(
    context: typer.Context,
    name: str,
    port: str,
    action: str,
    direction: Direction,
    settings: dict[str, Any],
    format_: Format,
) -> None:
    from testbed.agent.link_desk import read_impairment
    from testbed.control import verbs
    from testbed.lab.endpoints import parse_endpoint

    try:
        end = parse_endpoint(port)
    except ValueError as error:
        raise UsageError(f"{port}: {error}") from None
    if settings:
        read_impairment(settings)
    rows = asyncio.run(verbs.impair(target(context), name, end, action, direction, settings))
    if format_ is Format.json:
        print_json({"lab": name, "directions": rows})
        return
    for row in rows:
        console().print(_table(row))


def _table(row: dict[str, Any]) -> Table:
    from testbed.report.figures import format_ns
    from testbed.report.run import impairment_text

    past = row["measured"]
    table = empty_table(f"{row['from']} to {row['to']} ({row['emulation']})")
    columns = ("asked", "configured")
    for title in ("", *columns, f"measured over {format_ns(past['over_ns'])}"):
        table.add_column(title, ratio=1 if title else None)
    measured = {
        "delay_ns": None if past["delay_ns"] is None else f"{format_ns(past['delay_ns'])} mean",
        "rate_bps": None if past["rate_bps"] is None else f"{past['rate_bps'] / 1e9:.3f} Gb/s sent",
        "loss": None if past["loss"] is None else f"{past['loss']:.3g} ({past['lost']:,} of {past['frames']:,})",
        "up": f"{past['outage']:,} lost to outages",
    }
    for key in row["asked"]:
        # The row says what it is about.
        cells = [impairment_text(key, row[column][key]).removeprefix(f"{key.split('_')[0]} ") for column in columns]
        table.add_row(key.removesuffix("_ns").removesuffix("_bps"), *cells, measured.get(key) or "-")
    return table
