"""testbed validate: every fault of every file at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.commands.common import Format, FormatOption, print_json, say
from testbed.errors import InputError, TestbedError, UsageError
from testbed.experiment import load_experiment
from testbed.topology import load_lab
from testbed.trial import Trial
from testbed.yaml_source import read_yaml


def validate(
    files: Annotated[list[str], typer.Argument(help="lab files, experiment files, or labs by name", metavar="FILE…")],
    format_: FormatOption = Format.table,
) -> None:
    """Check labs and experiments; name file, line and key of every fault."""
    rows = [{"file": file, "kind": _kind(file), "faults": _faults(file)} for file in files]
    bad = any(row["faults"] for row in rows)
    if format_ is Format.json:
        print_json({"valid": not bad, "files": rows})
    for row in rows:
        for fault in row["faults"]:
            say(str(fault))
        if not row["faults"] and format_ is Format.table:
            print(f"{row['file']}: a valid {row['kind']}")
    if bad:
        raise typer.Exit(UsageError.exit_code)


def _kind(file: str) -> str:
    """Tell an experiment from a lab by the one key that labs must have and experiments cannot."""
    if not file.endswith((".yaml", ".yml")) and not Path(file).is_file():
        return "lab"
    try:
        data = read_yaml(Path(file), InputError).data
    except TestbedError:
        return "lab"
    return "experiment" if isinstance(data, dict) and "name" not in data and "workload" in data else "lab"


def _faults(file: str) -> list[str]:
    try:
        if _kind(file) == "lab":
            load_lab(file)
        else:
            experiment = load_experiment(file)
            trial = Trial(experiment, load_lab(experiment.topology))
            trial.plan  # noqa: B018  compiled for its errors
            trial.changes  # noqa: B018  so is the timeline
            trial.series("virtual")
    except TestbedError as error:
        return str(error).splitlines()
    return []
