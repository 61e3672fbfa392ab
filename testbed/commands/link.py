"""testbed link: what a link of a profile does over a length, without a lab."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from testbed.commands import completion
from testbed.commands.common import Format, FormatOption, console, print_json
from testbed.commands.explanation import one_link
from testbed.errors import UsageError
from testbed.lab.topology import DEFAULT_MTU_BYTES, FRAME_OVERHEAD_BYTES
from testbed.optics.behaviour import OpticalSettings, behaviour_of
from testbed.optics.profiles import ProfileError
from testbed.run import in_force
from testbed.units import PS_PER_SECOND, parse_length, parse_rate

DEFAULT_FRAME_BYTES = DEFAULT_MTU_BYTES + FRAME_OVERHEAD_BYTES


def link(
    profile: Annotated[
        str,
        typer.Argument(
            metavar="PROFILE",
            help="profile of the catalogue, see `testbed profiles`",
            autocompletion=completion.profile,
        ),
    ],
    length: Annotated[str, typer.Option("--length", help="length of the link: 80km")],
    rate: Annotated[str | None, typer.Option("--rate", help="for profiles that carry any rate: 400G")] = None,
    cable: Annotated[
        str | None,
        typer.Option(
            "--cable",
            autocompletion=completion.medium,
            help="another cable than the profile's",
            show_default="the profile's",
        ),
    ] = None,
    ber: Annotated[str | None, typer.Option("--ber", help="bit error ratio before the FEC: 1e-4")] = None,
    osnr_db: Annotated[
        str | None, typer.Option("--osnr-db", help="OSNR in 0.1 nm, or auto: gnpy computes the amplified line")
    ] = None,
    margin_db: Annotated[
        str | None, typer.Option("--margin-db", help="dB above the profile's limit", show_default="the profile's")
    ] = None,
    lanes_down: Annotated[int, typer.Option("--lanes-down", min=0, help="lanes that have failed")] = 0,
    acceleration: Annotated[float, typer.Option(min=1, help="factor by which losses are made more frequent")] = 1.0,
    frame: Annotated[
        int, typer.Option("--frame", min=64, max=65_553, help="bytes of the frame whose loss is shown, with its FCS")
    ] = DEFAULT_FRAME_BYTES,
    format_: FormatOption = Format.table,
) -> None:
    """Show what a link does: rate, delay and its terms, BER, codeword failure, frame loss, OSNR."""
    options = {
        "profile": profile,
        "cable": cable,
        "ber": ber,
        "osnr-db": osnr_db,
        "margin-db": margin_db,
        "lanes-down": lanes_down,
        "acceleration": acceleration,
    }
    figures = _figures(_settings(options), parse_length(length), None if rate is None else parse_rate(rate), frame)
    if format_ is Format.json:
        print_json(figures)
    else:
        console().print(one_link(figures))


def _settings(options: dict[str, Any]) -> OpticalSettings:
    """Read options as a lab file's keys of the same names are read."""
    given = {key: value for key, value in options.items() if value is not None}
    for key in ("ber", "osnr-db", "margin-db"):
        # In a file these are numbers; on a command line, words that may be numbers.
        try:
            given[key] = float(given[key])
        except (KeyError, ValueError):
            continue
    try:
        return OpticalSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"--{first['loc'][0]} {given[str(first['loc'][0])]}: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def _figures(settings: OpticalSettings, length_mm: int, rate_bps: int | None, frame_bytes: int) -> dict[str, Any]:
    try:
        behaviour = behaviour_of(settings, length_mm, rate_bps)
    except ProfileError as error:
        option = "" if error.key == "profile" else f"--{error.key}: "
        raise UsageError(f"{option}{error}") from None
    return {
        "schema": 1,
        "length_m": length_mm / 1000,
        "delay_ns": behaviour.delay_ps / 1000,
        "bandwidth_delay_bytes": behaviour.delay_ps * behaviour.rate_bps / PS_PER_SECOND / 8,
        **in_force.optics(behaviour, frame_bytes),
    }
