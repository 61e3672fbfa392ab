"""testbed export: results and captures in the formats of other tools."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from testbed import pcapng, timeseries
from testbed.commands import completion
from testbed.commands.common import ForceOption, OutOption, keep_existing, print_note, write_bytes, write_out
from testbed.errors import UsageError
from testbed.exports import hpcc, metrics, tables
from testbed.importers.draft import counted
from testbed.lab.topology import load_lab
from testbed.run import result
from testbed.timeseries import TimeSeries
from testbed.units import parse_time

ResultArgument = Annotated[Path, typer.Argument(metavar="RESULT", help="run.json, or the directory that holds it")]
LabOption = Annotated[
    str,
    typer.Option("--topology", "-t", help="lab of the result: a file, or a name", autocompletion=completion.topology),
]
MAX_PAYLOAD_BYTES = 65_535


class Table(enum.StrEnum):
    """Tables that a result has."""

    flows = "flows"
    ports = "ports"
    iterations = "iterations"
    series = "series"


def fct(
    run_json: ResultArgument,
    topology: LabOption,
    out: OutOption = None,
    payload: Annotated[
        int | None,
        typer.Option(
            "--payload",
            min=1,
            max=MAX_PAYLOAD_BYTES,
            help="payload of a packet for the last column",
            show_default="the path MTU of the run",
        ),
    ] = None,
    offset: Annotated[str, typer.Option("--offset", help="time of the first flow in the file, customarily 2s")] = "0s",
    force: ForceOption = False,
) -> None:
    """Write completion times as fct.txt of the ns-3 family, its last column as that family reckons it."""
    keep_existing([out] if out else [], force)
    judged = result.read(run_json)
    flows = judged.flow_completion
    if flows is None:
        raise UsageError(f"{run_json}: not a result of flows; run flows, or replay a trace of flows alone")
    mtu = judged.in_force.get("transport", {}).get("mtu_bytes")
    if payload is None and mtu is None:
        raise UsageError(f"{run_json} does not say the path MTU; give --payload")
    write_out(hpcc.fct_text(load_lab(topology), flows, payload or int(mtu), parse_time(offset) // 1000), out)
    missing = flows.all.count - flows.all.finished
    left = f"left out: {counted(missing, 'flow')} that did not end" if missing else "left out nothing"
    print_note(f"wrote {counted(flows.all.finished, 'flow')}; {left}")


def pfc(
    capture: Annotated[Path, typer.Argument(metavar="CAPTURE.pcapng", help="capture of a run with --pcap")],
    topology: LabOption,
    out: OutOption = None,
    force: ForceOption = False,
) -> None:
    """Write the PFC frames of a capture as pfc.txt of the ns-3 family."""
    keep_existing([out] if out else [], force)
    try:
        text = hpcc.pfc_text(load_lab(topology), pcapng.frames(capture.read_bytes()))
    except OSError as error:
        raise UsageError(f"cannot read {capture}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{capture}: not a capture of the testbed: {error}") from None
    write_out(text, out)
    frames = text.count("\n")
    print_note(f"wrote {counted(frames, 'frame')}; left out: all that are not PFC")


def csv(
    run_json: ResultArgument,
    table: Annotated[Table, typer.Option("--table", help="what to write")] = Table.flows,
    out: OutOption = None,
    force: ForceOption = False,
) -> None:
    """Write flows, ports, iterations of jobs or recorded series of a result as CSV."""
    keep_existing([out] if out else [], force)
    if table is Table.series:
        series = _recorded(run_json)
        write_out(tables.series_csv(series), out)
        print_note(f"wrote {counted(series.rows, 'row')}")
        return
    rows = tables.TABLES[table](result.read(run_json))
    write_out(tables.csv_text(rows), out)
    print_note(f"wrote {counted(len(rows), 'row')}")


def parquet(
    run_json: ResultArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="file that is written")],
    table: Annotated[Table, typer.Option("--table", help="what to write")] = Table.flows,
    force: ForceOption = False,
) -> None:
    """Write flows, ports, iterations of jobs or series of a result as Parquet, with the columns of CSV (extra `data`)."""
    keep_existing([out], force)
    if table is Table.series:
        series = _recorded(run_json)
        write_bytes(tables.series_parquet(series), out)
        print_note(f"wrote {counted(series.rows, 'row')}")
        return
    rows = tables.TABLES[table](result.read(run_json))
    write_bytes(tables.parquet_bytes(rows), out)
    print_note(f"wrote {counted(len(rows), 'row')}")


def _recorded(run_json: Path) -> TimeSeries:
    """Return the series of a result. Raises UsageError for a run that recorded none."""
    result.read(run_json)
    series = timeseries.read(run_json)
    if series is None:
        raise UsageError(f"{run_json}: nothing was recorded over time; run with --series auto")
    return series


def inspector(run_json: ResultArgument, out: OutOption = None, force: ForceOption = False) -> None:
    """Write the collectives of a result as JSON lines, as NCCL's Inspector does."""
    keep_existing([out] if out else [], force)
    text = metrics.inspector_lines(result.read(run_json))
    write_out(text, out)
    print_note(f"wrote {counted(text.count(chr(10)), 'collective')}")


def openmetrics(run_json: ResultArgument, out: OutOption = None, force: ForceOption = False) -> None:
    """Write a result as OpenMetrics text, with the names of NCCL's Inspector for collectives."""
    keep_existing([out] if out else [], force)
    text = metrics.openmetrics(result.read(run_json))
    write_out(text, out)
    print_note(f"wrote {counted(sum(not line.startswith('#') for line in text.splitlines()), 'sample')}")
