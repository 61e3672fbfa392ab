"""testbed profiles: the catalogue of optical links."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from testbed.commands import completion
from testbed.commands.common import Format, FormatOption, console, print_json
from testbed.optics.catalogue import catalogue_table
from testbed.report.tables import empty_table
from testbed.units import format_length, format_rate, format_time

_UNITS = {
    "power-w": " W",
    "margin-db": " dB",
    "required-osnr-db": " dB",
    "insertion-loss-db": " dB",
    "lane-fit": " FIT",
    "baud": "Bd",
}


def profiles(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="one profile, with the source of each figure", autocompletion=completion.profile
        ),
    ] = None,
    format_: FormatOption = Format.table,
) -> None:
    """List the optical profiles that links can have, or show one in full."""
    rows = catalogue_table(name)
    if format_ is Format.json:
        print_json({"profiles": rows})
    elif name is None:
        console().print(_catalogue(rows))
    else:
        console().print(_facts(rows[0]), Text(), _figures(rows[0]["figures"]), sep="\n")


def _catalogue(rows: list[dict[str, Any]]) -> Table:
    table = empty_table()
    for title in ("profile", "technology"):
        table.add_column(title, no_wrap=True)
    for title in ("rate", "reach", "lanes"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("FEC")
    for title in ("BER limit", "FEC+DSP", "W/end", "pJ/bit"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what it is", ratio=1)
    for row in rows:
        spares = f"+{row['spares']}" if row["spares"] else ""
        energy = row["pj_per_bit_per_end"]
        table.add_row(
            row["name"],
            row["technology"],
            format_rate(row["rate_bps"]) if row["rate_bps"] else "any",
            format_length(round(row["reach_m"] * 1000)),
            f"{row['lanes']}{spares}",
            row["fec"] if row["modulation"] else "-",
            f"{row['ber_limit']:.3g}" if row["ber_limit"] is not None else "-",
            format_time(round(row["latency_ns"] * 1000)) if row["latency_ns"] else "-",
            f"{row['power_w_per_end']:g}",
            f"{energy:.3g}" if energy is not None else "-",
            Text(row["about"]),
        )
    return table


def _facts(row: dict[str, Any]) -> Text:
    latency = format_time(round(row["latency_ns"] * 1000))
    text = Text(row["name"], style="bold").append(f": {row['about']} ({row['technology']})\n", style="not bold")
    text.append(
        f"{row['cable']} at {row['ps_per_metre'] / 1000:g} ns a metre, {latency} of FEC and DSP", style="not bold"
    )
    if row["pj_per_bit_per_end"] is not None:
        text.append(f", {row['pj_per_bit_per_end']:.3g} pJ/bit an end", style="not bold")
    return text


def _figures(figures: dict[str, dict[str, Any]]) -> Table:
    table = empty_table()
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("source", ratio=1)
    for key, figure in figures.items():
        table.add_row(key, f"{figure['value']}{_UNITS.get(key, '')}", Text(figure["source"] or "-"))
    return table
