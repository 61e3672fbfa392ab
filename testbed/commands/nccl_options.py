"""The options that `testbed run` shares with nccl-tests and rccl-tests, and the settings that they stand for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

MinbytesOption = Annotated[
    str | None,
    typer.Option("--minbytes", "-b", help="smallest size, as 1M or 400KB", show_default="the experiment's, else 1MiB"),
]
MaxbytesOption = Annotated[
    str | None, typer.Option("--maxbytes", "-e", help="largest size", show_default="the smallest")
]
StepfactorOption = Annotated[
    int | None, typer.Option("--stepfactor", "-f", help="factor from one size to the next", show_default="2")
]
ItersOption = Annotated[
    int | None, typer.Option("--iters", "-n", help="times that each size is measured", show_default="1")
]
CheckOption = Annotated[
    int | None,
    typer.Option("--check", "-c", min=0, max=1, help="0: send lengths alone and compare no results", show_default="1"),
]
WarmupOption = Annotated[
    int | None,
    typer.Option("--warmup_iters", "-w", help="times that the largest size is run before measuring", show_default="0"),
]
StepbytesOption = Annotated[
    str | None, typer.Option("--stepbytes", "-i", help="bytes from one size to the next, in place of a factor")
]
AggregateOption = Annotated[
    int | None, typer.Option("--agg_iters", "-m", help="calls made at once in each iteration", show_default="1")
]
DatatypeOption = Annotated[
    str | None,
    typer.Option("--datatype", "-d", help="half, bfloat16, double, int8, … or all", show_default="float"),
]
OperationOption = Annotated[
    str | None, typer.Option("--op", "-o", help="sum, prod, min, max, avg or all", show_default="sum")
]
RootOption = Annotated[
    str | None, typer.Option("--root", "-r", help="rank that is the root, or all in turn", show_default="0")
]


class RecordFormat(enum.StrEnum):
    """How the records of rccl-tests are written."""

    csv = "csv"
    json = "json"


RecordFormatOption = Annotated[
    RecordFormat | None,
    typer.Option("--output_format", "-Z", help="print the rows as rccl-tests write them too", show_default="none"),
]
RecordFileOption = Annotated[
    Path | None,
    typer.Option("--output_file", "-x", help="file for these rows instead, JSON unless -Z says csv"),
]


_KEYS = {
    "minbytes": "minbytes",
    "maxbytes": "maxbytes",
    "stepfactor": "stepfactor",
    "stepbytes": "stepbytes",
    "iters": "iterations",
    "warmup": "warmup-iterations",
    "aggregate": "aggregate",
    "datatype": "datatype",
    "operation": "redop",
    "root": "root",
}


def settings(parameters: Mapping[str, Any]) -> list[str]:
    """Return the settings of an experiment that the parameters of a command stand for."""
    given = {key: parameters[name] for name, key in _KEYS.items() if parameters[name] is not None}
    settings = [f"workload.{key}={value}" for key, value in given.items()]
    if parameters["check"] is not None:
        settings.append(f"workload.payload={'true' if parameters['check'] else 'false'}")
    return settings
