"""testbed validate: every fault of every file at once, and buffers that can wait in a circle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from testbed import sweep
from testbed.axes import axes_of
from testbed.commands.common import Format, FormatOption, StrictOption, print_json, say
from testbed.deadlock import Cycle, find_cycles
from testbed.errors import InputError, TestbedError, UsageError
from testbed.experiment import Experiment, Lossless, load_experiment
from testbed.plan import compile_fabric
from testbed.topology import Lab, lab_source, load_lab
from testbed.trial import Trial
from testbed.yaml_source import read_yaml


def validate(
    files: Annotated[list[str], typer.Argument(help="lab files, experiment files, or labs by name", metavar="FILE…")],
    strict: StrictOption = False,
    format_: FormatOption = Format.table,
) -> None:
    """Check labs and experiments; name file, line and key of every fault."""
    rows = [_check(file, strict) for file in files]
    bad = any(row.faults for row in rows)
    if format_ is Format.json:
        shown = [{"file": r.file, "kind": r.kind, "faults": r.faults, "warnings": r.warnings} for r in rows]
        print_json({"valid": not bad, "files": shown})
    for row in rows:
        for fault in row.faults:
            say(fault)
        for warning in row.warnings:
            say(f"warning: {warning}")
        if not row.faults and format_ is Format.table:
            print(f"{row.file}: a valid {row.kind}")
    if bad:
        raise typer.Exit(UsageError.exit_code)


@dataclass
class _Checked:
    file: str
    kind: str
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _check(file: str, strict: bool) -> _Checked:
    checked = _Checked(file, _kind(file))
    try:
        topology, cycles = _experiment(file) if checked.kind == "experiment" else (file, _lab_cycles(load_lab(file)))
        waiting = [str(cycle.fault(lab_source(topology))) for cycle in cycles]
    except TestbedError as error:
        checked.faults = str(error).splitlines()
    else:
        checked.faults, checked.warnings = (waiting, []) if strict else ([], waiting)
    return checked


def _kind(file: str) -> str:
    """Tell an experiment from a lab by the one key that labs must have and experiments cannot."""
    if not file.endswith((".yaml", ".yml")) and not Path(file).is_file():
        return "lab"
    try:
        data = read_yaml(Path(file), InputError).data
    except TestbedError:
        return "lab"
    return "experiment" if isinstance(data, dict) and "name" not in data and "workload" in data else "lab"


def _experiment(file: str) -> tuple[str, list[Cycle]]:
    """Return the lab of an experiment, and what its workload can make wait in a circle; raise what is wrong with it."""
    experiment = load_experiment(file)
    trial = Trial(experiment, load_lab(experiment.topology))
    trial.plan  # noqa: B018  compiled for its errors
    trial.changes  # noqa: B018  so is the timeline
    trial.series("virtual")
    if experiment.sweep is not None:
        sweep.combine(experiment, axes_of(experiment.sweep), lambda topology, settings: "")
    return experiment.topology, trial.cycles


def _lab_cycles(lab: Lab) -> list[Cycle]:
    """Return what traffic between all hosts could make wait in a circle, on any priority that all switches keep."""
    kept = set(range(8)).intersection(*(switch.lossless for switch in lab.switches))
    if not kept:
        return []
    try:
        plan = compile_fabric(lab, Experiment(topology=lab.name, lossless=Lossless(priority=min(kept))))
    except InputError:
        return []  # thresholds are the experiment's to give; how the lab is wired is sound
    return find_cycles(plan, kept)
