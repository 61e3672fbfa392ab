"""testbed headroom: what a lossless priority must hold, and how far a buffer reaches."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import typer
from rich.table import Table

from testbed.commands.common import console, print_json
from testbed.errors import UsageError
from testbed.headroom import Headroom
from testbed.headroom_models import (
    GUIDES_PS_PER_METRE,
    LONGEST_MM,
    ROUND_TRIP,
    Ieee,
    Model,
    Sonic,
    Spectrum,
    longest_mm,
    pg_profile_row,
)
from testbed.switch_settings import DEFAULT_BUFFER_BYTES
from testbed.units import format_length, format_rate, format_size, parse_length, parse_rate, parse_size, parse_time

DEFAULT_FRAME_BYTES = 9216
DEFAULT_LOSSLESS_BYTES = 4096
SMALLEST_FRAME_BYTES = 64
LARGEST_FRAME_BYTES = 65_535
# From light in a vacuum to twice what any cable takes: more or less is a slip of the pen.
PS_PER_METRE_RANGE = (3_336, 10_000)


class ModelName(enum.StrEnum):
    """Whose reckoning."""

    ieee = "ieee"
    spectrum = "spectrum"
    sonic = "sonic"


class Switched(enum.StrEnum):
    """A term that counts or does not."""

    on = "on"
    off = "off"


class HeadroomFormat(enum.StrEnum):
    """How the answer is written on standard output."""

    table = "table"
    json = "json"
    sonic = "sonic"


def headroom(
    rate: Annotated[str, typer.Option("--rate", help="rate of the port: 400G")],
    length: Annotated[str, typer.Option("--length", help="length of the cable: 80km")],
    model: Annotated[
        ModelName,
        typer.Option(
            help="ieee: the sum of 802.1Q; spectrum: SONiC on NVIDIA; sonic: rows shipped for Tomahawk 2 and 3"
        ),
    ] = ModelName.ieee,
    mtu: Annotated[
        str | None, typer.Option("--mtu", help="longest frame of the port in bytes, 9216 unless given (ieee, spectrum)")
    ] = None,
    lossless_mtu: Annotated[
        str | None, typer.Option("--lossless-mtu", help="longest lossless frame, 4096 unless given (spectrum)")
    ] = None,
    cell: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="bytes of a buffer cell (spectrum, sonic)")
    ] = None,
    small_share: Annotated[
        int | None, typer.Option(min=0, max=100, help="percent of frames with 64 bytes, 50 unless given (spectrum)")
    ] = None,
    interface: Annotated[
        Switched | None, typer.Option(help="MAC and PHY delay of hardware, on unless given (ieee)")
    ] = None,
    delay_per_metre: Annotated[str | None, typer.Option(help="flight time of a metre, 5ns unless given (ieee)")] = None,
    buffer: Annotated[str, typer.Option("--buffer", help="memory for headroom")] = format_size(DEFAULT_BUFFER_BYTES),
    ports: Annotated[int, typer.Option(min=1, max=65_536, help="ports that share it, a lossless priority each")] = 1,
    format_: Annotated[
        HeadroomFormat,
        typer.Option("--format", help="table, json, or sonic for a row of pg_profile_lookup.ini"),
    ] = HeadroomFormat.table,
) -> None:
    """Add up the headroom of a lossless priority, and say how far a buffer reaches."""
    rate_bps, length_mm, buffer_bytes = parse_rate(rate), parse_length(length), parse_size(buffer)
    if length_mm > LONGEST_MM:
        raise UsageError(f"--length {length}: {format_length(LONGEST_MM)} at most")
    given = {
        "mtu": _frame("--mtu", mtu),
        "lossless_mtu": _frame("--lossless-mtu", lossless_mtu),
        "cell": cell,
        "small_share": small_share,
        "interface": interface,
        "delay_per_metre": _per_metre(delay_per_metre),
    }
    chosen = _model(model, rate_bps, {key: value for key, value in given.items() if value is not None})
    if format_ is HeadroomFormat.sonic:
        print(pg_profile_row(chosen, rate_bps, length_mm))
        return
    answer = _answer(chosen, rate_bps, length_mm, buffer_bytes, ports)
    if format_ is HeadroomFormat.json:
        print_json(answer)
    else:
        _print_table(chosen, answer)


def _frame(option: str, text: str | None) -> int | None:
    size = None if text is None else parse_size(text)
    if size is not None and not SMALLEST_FRAME_BYTES <= size <= LARGEST_FRAME_BYTES:
        raise UsageError(f"{option} {text}: frames have {SMALLEST_FRAME_BYTES} to {LARGEST_FRAME_BYTES} bytes")
    return size


def _per_metre(text: str | None) -> int | None:
    time_ps = None if text is None else parse_time(text)
    least, most = PS_PER_METRE_RANGE
    if time_ps is not None and not least <= time_ps <= most:
        raise UsageError(
            f"--delay-per-metre {text}: light needs {least / 1000} ns at least, and no cable {most / 1000} ns"
        )
    return time_ps


def _model(name: ModelName, rate_bps: int, given: dict[str, Any]) -> Model:
    """Make the model of what was given; refuse an option that it would not heed."""
    heeded = {
        ModelName.ieee: ("mtu", "interface", "delay_per_metre"),
        ModelName.spectrum: ("mtu", "lossless_mtu", "cell", "small_share"),
        ModelName.sonic: ("cell",),
    }
    for key in given:
        if key not in heeded[name]:
            others = " and ".join(other for other, keys in heeded.items() if key in keys)
            raise UsageError(f"--{key.replace('_', '-')} is for the model {others}; the model {name} has no use for it")
    mtu = given.get("mtu", DEFAULT_FRAME_BYTES)
    if name is ModelName.ieee:
        interfaces = given.get("interface", Switched.on) is Switched.on
        return Ieee(rate_bps, mtu, interfaces, given.get("delay_per_metre", GUIDES_PS_PER_METRE))
    if name is ModelName.sonic:
        return Sonic(rate_bps, given.get("cell"))
    lossless = given.get("lossless_mtu", min(DEFAULT_LOSSLESS_BYTES, mtu))
    if lossless > mtu:
        raise UsageError(f"--lossless-mtu {lossless} is more than the longest frame of the port, {mtu}")
    return Spectrum(rate_bps, mtu, lossless, given.get("cell", Spectrum.TILE_CELL_BYTES), given.get("small_share", 50))


def _answer(model: Model, rate_bps: int, length_mm: int, buffer_bytes: int, ports: int) -> dict[str, Any]:
    """Return the document that --format json prints."""
    found: Headroom = model.headroom(length_mm)
    share = found.terms[ROUND_TRIP] / found.total_bytes
    return {
        "schema": 1,
        "model": model.name,
        "rate_bps": rate_bps,
        "length_mm": length_mm,
        "total_bytes": found.total_bytes,
        "terms": dict(found.terms),
        "sources": {term: model.sources[term] for term in found.terms},
        "round_trip_share": round(share, 6),
        "buffer_bytes": buffer_bytes,
        "ports": ports,
        "fits": ports * found.total_bytes <= buffer_bytes,
        "largest_length_mm": longest_mm(model, buffer_bytes // ports),
    }


def _print_table(model: Model, answer: dict[str, Any]) -> None:
    out = console()
    total, share = answer["total_bytes"], answer["round_trip_share"]
    table = Table(box=None, pad_edge=False)
    table.add_column("term")
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    table.add_column("what it is")
    for name, size in answer["terms"].items():
        table.add_row(name, f"{size:,}", f"{size / total:.1%}", model.sources[name])
    table.add_row("total", f"{total:,}", "100.0%", "for one lossless priority of one port")
    out.print(f"headroom by {model.name}: {format_rate(answer['rate_bps'])} over {format_length(answer['length_mm'])}")
    out.print(table)
    out.print(f"everything but the round trip is {1 - share:.2%} of it")
    out.print(_reach(answer))


def _reach(answer: dict[str, Any]) -> str:
    """Say whether the buffer holds it, and how far it would reach."""
    ports, longest = answer["ports"], answer["largest_length_mm"]
    shared = f"{format_size(answer['buffer_bytes'])} for {ports} port{'s' if ports > 1 else ''}"
    if longest is None:
        return f"{shared}: too small for any length"
    # Down to a whole metre: what is printed has to fit.
    reach = format_length(longest // 1000 * 1000 if longest >= 1000 else longest)
    more = " or more" if longest == LONGEST_MM else ""
    verdict = (
        "enough" if answer["fits"] else f"short by {ports * answer['total_bytes'] - answer['buffer_bytes']:,} bytes"
    )
    return f"{shared}: {verdict}; reaches {reach}{more}"
