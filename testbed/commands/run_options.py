"""Options of verbs that run something: what, on which clock, and where the result goes."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import completion


class ClockOption(enum.StrEnum):
    """Which clock: the real one, the virtual one, or the real one where the machine can."""

    auto = "auto"
    virtual = "virtual"
    real = "real"


WhatArgument = Annotated[
    str | None,
    typer.Argument(
        help="experiment file, or a collective",
        metavar="EXPERIMENT.yaml|COLLECTIVE",
        autocompletion=completion.experiment,
    ),
]
RunClockOption = Annotated[
    ClockOption | None,
    typer.Option(
        help="virtual, real, or auto: real where this machine can", show_default="the experiment's, else virtual"
    ),
]
ResultOption = Annotated[
    Path | None, typer.Option("--out", help="directory for the result", show_default="a new one below results")
]
MetricsOption = Annotated[
    Path | None, typer.Option("--metrics", help="write the result as OpenMetrics text into this file too")
]
TraceOption = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        help="write a timeline for ui.perfetto.dev into this file too: pauses and what they caused, messages, series",
    ),
]
CoresOption = Annotated[
    str, typer.Option("--cores", help="cores to run on, or auto: more than one where it pays (virtual clock)")
]
FastOption = Annotated[
    str | None,
    typer.Option(
        "--fast",
        help="skip what recurs, where figures stay within such a share of those of an exact run: 1% (virtual clock)",
        show_default="the experiment's, else every event is run",
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", help="columns that tables have beside the names of rows, with commas: paused,queue max"),
]


def fast_settings(tolerance: str | None) -> list[str]:
    """Return the setting that the option `--fast` is."""
    return [] if tolerance is None else [f"fast={tolerance}"]


def read_columns(text: str | None) -> list[str]:
    """Return the headings that an option names."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else []
