"""testbed headroom: what a lossless priority must hold, and how far a buffer reaches."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import typer

from testbed.buffers.headroom import Headroom
from testbed.buffers.headroom_choice import ModelName, Switched, model_of_lab, model_of_options
from testbed.buffers.headroom_comparison import Beside, beside
from testbed.buffers.headroom_models import LONGEST_MM, ROUND_TRIP, Model, longest_mm, pg_profile_row
from testbed.commands import completion
from testbed.commands.common import TopologyOption, console, print_json
from testbed.errors import UsageError
from testbed.lab.switches import DEFAULT_BUFFER_BYTES
from testbed.report.tables import empty_table
from testbed.sizes import SHORTEST_FRAME_BYTES
from testbed.units import (
    format_length,
    format_rate,
    format_size,
    parse_length,
    parse_rate,
    parse_size,
    parse_time,
)

LARGEST_FRAME_BYTES = 65_535
LONGEST_GEARBOX_PS = 10**9
# From light in a vacuum to twice what any cable takes: more or less is a slip of the pen.
PS_PER_METRE_RANGE = (3_336, 10_000)


class HeadroomFormat(enum.StrEnum):
    """How the answer is written on standard output."""

    table = "table"
    json = "json"
    sonic = "sonic"


ModelOption = Annotated[
    ModelName | None,
    typer.Option(
        help="ieee: the sum of 802.1Q; spectrum: SONiC on NVIDIA; sonic: rows shipped for Tomahawk 2 and 3; "
        "lab: what `headroom: auto` comes to. ieee unless given, lab with -t"
    ),
]
SmallShareOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=100,
        help="percent of frames with 64 bytes: 50 unless given for spectrum, the worst case for ieee and lab",
    ),
]
ResponseOption = Annotated[
    str | None,
    typer.Option(
        "--response", help="of the peer to a PAUSE: a time, or quanta of 512 bit times: 1810; by rate unless given"
    ),
]
PortOption = Annotated[
    str | None,
    typer.Option(
        "--port",
        autocompletion=completion.switch_port,
        help="switch:port of the lab that -t names, which decides everything else (lab)",
    ),
]


def headroom(
    rate: Annotated[str | None, typer.Option("--rate", help="rate of the port: 400G")] = None,
    length: Annotated[str | None, typer.Option("--length", help="length of the cable: 80km")] = None,
    topology: TopologyOption = None,
    port: PortOption = None,
    model: ModelOption = None,
    mtu: Annotated[
        str | None,
        typer.Option("--mtu", help="longest frame of the port in bytes, 9216 unless given, 4218 for lab"),
    ] = None,
    lossless_mtu: Annotated[
        str | None, typer.Option("--lossless-mtu", help="longest lossless frame, 4096 unless given (spectrum)")
    ] = None,
    cell: Annotated[int | None, typer.Option(min=1, max=65_536, help="size of a buffer cell in bytes")] = None,
    small_share: SmallShareOption = None,
    lanes: Annotated[int | None, typer.Option(min=1, max=16, help="lanes of the port, 8 differ (spectrum)")] = None,
    response: ResponseOption = None,
    gearbox: Annotated[str | None, typer.Option("--gearbox", help="delay of a gearbox: 155ns (spectrum)")] = None,
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
    """Add up the headroom of a lossless priority, and say how far a buffer reaches; exit code 1 where it is short."""
    buffer_bytes = parse_size(buffer)
    given = {
        "rate": None if rate is None else parse_rate(rate),
        "length": _length(length),
        "mtu": _frame("--mtu", mtu),
        "lossless_mtu": _frame("--lossless-mtu", lossless_mtu),
        "cell": cell,
        "small_share": small_share,
        "lanes": lanes,
        "response": response,
        "gearbox": _gearbox(gearbox),
        "interface": interface,
        "delay_per_metre": _per_metre(delay_per_metre),
    }
    options = {key: value for key, value in given.items() if value is not None}
    if topology is not None or port is not None:
        chosen, alike, length_mm = model_of_lab(topology, port, model, options)
    else:
        chosen, alike, length_mm = model_of_options(model or ModelName.ieee, options)
    if format_ is HeadroomFormat.sonic:
        print(pg_profile_row(chosen, chosen.rate_bps, length_mm))
        return
    answer = _answer(chosen, length_mm, buffer_bytes, ports)
    others = beside(chosen, length_mm, alike)
    if format_ is HeadroomFormat.json:
        print_json({**answer, "beside": [other.as_json() for other in others]})
    else:
        _print_table(chosen, answer, others)
    if not answer["fits"]:
        raise typer.Exit(1)


def _length(text: str | None) -> int | None:
    length_mm = None if text is None else parse_length(text)
    if length_mm is not None and length_mm > LONGEST_MM:
        raise UsageError(f"--length {text}: {format_length(LONGEST_MM)} at most")
    return length_mm


def _gearbox(text: str | None) -> int | None:
    time_ps = None if text is None else parse_time(text)
    if time_ps is not None and time_ps > LONGEST_GEARBOX_PS:
        raise UsageError(f"--gearbox {text}: 1ms at most")
    return time_ps


def _frame(option: str, text: str | None) -> int | None:
    size = None if text is None else parse_size(text)
    if size is not None and not SHORTEST_FRAME_BYTES <= size <= LARGEST_FRAME_BYTES:
        raise UsageError(f"{option} {text}: frames have {SHORTEST_FRAME_BYTES} to {LARGEST_FRAME_BYTES} bytes")
    return size


def _per_metre(text: str | None) -> int | None:
    time_ps = None if text is None else parse_time(text)
    least, most = PS_PER_METRE_RANGE
    if time_ps is not None and not least <= time_ps <= most:
        raise UsageError(
            f"--delay-per-metre {text}: light needs {least / 1000} ns at least, and no cable {most / 1000} ns"
        )
    return time_ps


def _answer(model: Model, length_mm: int, buffer_bytes: int, ports: int) -> dict[str, Any]:
    """Return the document that --format json prints."""
    headroom: Headroom = model.headroom(length_mm)
    share = headroom.terms[ROUND_TRIP] / headroom.total_bytes
    return {
        "schema": 1,
        "model": model.name,
        "rate_bps": model.rate_bps,
        "length_mm": length_mm,
        "total_bytes": headroom.total_bytes,
        "terms": dict(headroom.terms),
        "sources": {term: model.sources[term] for term in headroom.terms},
        "assumption": model.assumption,
        "round_trip_share": round(share, 6),
        "buffer_bytes": buffer_bytes,
        "ports": ports,
        "fits": ports * headroom.total_bytes <= buffer_bytes,
        "largest_length_mm": longest_mm(model, buffer_bytes // ports),
    }


def _print_table(model: Model, answer: dict[str, Any], others: list[Beside]) -> None:
    out = console()
    total, share = answer["total_bytes"], answer["round_trip_share"]
    table = empty_table()
    table.add_column("term")
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    table.add_column("what it is", ratio=1)
    for name, size in answer["terms"].items():
        table.add_row(name, f"{size:,}", f"{size / total:.1%}", answer["sources"][name])
    table.add_row("total", f"{total:,}", "100.0%", f"for one lossless priority of one port; {model.assumption}")
    out.print(f"headroom by {model.name}: {format_rate(answer['rate_bps'])} over {format_length(answer['length_mm'])}")
    out.print(table)
    out.print(f"everything but the round trip is {1 - share:.2%} of it")
    for other in others:
        more = ", ".join(f"{name} {size:+,}" for name, size in other.more.items())
        out.print(f"a lab's `headroom: auto`, {other.assumption}: {other.headroom.total_bytes:,} bytes ({more})")
    out.print(_reach(answer))


def _reach(answer: dict[str, Any]) -> str:
    """Return whether the buffer holds it, and how far it would reach."""
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
