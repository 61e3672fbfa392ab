"""testbed validate: every fault of every file at once, and buffers that can wait in a circle."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from testbed import topologies
from testbed.buffers.deadlock import Cycle, find_cycles
from testbed.commands import completion
from testbed.commands.common import (
    Format,
    FormatOption,
    SetOption,
    StrictOption,
    console,
    print_json,
    print_note,
    read_trial,
)
from testbed.commands.explanation import document, render
from testbed.errors import InputError, TestbedError, UsageError
from testbed.experiment.axes import axes_of
from testbed.experiment.file import Experiment
from testbed.experiment.sections import Lossless
from testbed.lab.topology import Lab, lab_source
from testbed.plan.compile import PRIORITIES, compile_fabric
from testbed.run.trial import Clock, Trial
from testbed.schema.source import read_yaml
from testbed.study import preflight
from testbed.study.combinations import combine

USUAL = "command line: "
"""What faults of an experiment begin with that no file and no option states."""


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            help="lab files, experiment files, or labs and experiments by name",
            metavar="FILE",
            autocompletion=completion.lab_or_experiment,
        ),
    ],
    set_: SetOption = None,
    strict: StrictOption = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="show what every `auto` comes to, and what each link does")
    ] = False,
    format_: FormatOption = Format.table,
) -> None:
    """Check labs and experiments as `run` does before it starts; name file, line and key of every fault.

    A lab is checked with an all-reduce on it, all settings at their defaults but those of --set, and on a priority that all
    switches keep. What names no clock has to be sound on both.
    """
    rows = [_check(file, set_ or [], strict) for file in files]
    bad = any(row.faults for row in rows)
    documents = {row.file: document(row.trial) for row in rows if explain and row.trial and not row.faults}
    if format_ is Format.json:
        shown: list[dict[str, Any]] = [
            {"file": r.file, "kind": r.kind, "faults": r.faults, "warnings": r.warnings, **documents.get(r.file, {})}
            for r in rows
        ]
        print_json({"valid": not bad, "files": shown})
    for row in rows:
        for fault in row.faults:
            print_note(fault)
        for warning in row.warnings:
            print_note(f"warning: {warning}")
        if not row.faults and format_ is Format.table:
            print(f"{row.file}: a valid {row.kind}")
            if row.file in documents:
                console().print(render(documents[row.file]))
    if bad:
        raise typer.Exit(UsageError.exit_code)


@dataclass
class _Checked:
    file: str
    kind: str
    trial: Trial | None = None
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _check(file: str, settings: list[str], strict: bool) -> _Checked:
    checked = _Checked(file, _kind(file))
    try:
        checked.trial = trial = _trial(checked, settings)
        _check_clocks(checked, trial)
        if not checked.faults:
            cycles = trial.cycles if checked.kind == "experiment" else _lab_cycles(trial.lab)
            waiting = [str(cycle.fault(lab_source(trial.experiment.topology))) for cycle in cycles]
            (checked.faults if strict else checked.warnings).extend(waiting)
    except TestbedError as error:
        checked.faults = str(error).splitlines()
    if checked.kind == "lab":
        # Nobody wrote the experiment that is run on it: what the lab does not allow is a fault of the lab.
        named = f"{checked.file}: "
        checked.faults = [
            fault.replace(USUAL, named, 1) if fault.startswith(USUAL) else fault for fault in checked.faults
        ]
    return checked


def _kind(file: str) -> str:
    """Tell an experiment from a lab by the one key that labs must have and experiments cannot."""
    if not file.endswith((".yaml", ".yml")) and not os.path.isfile(file):
        return "experiment" if _is_stored_experiment(file) else "lab"
    try:
        data = read_yaml(Path(file), InputError).data
    except TestbedError:
        return "lab"
    is_experiment = (
        isinstance(data, dict) and "name" not in data and not data.keys().isdisjoint(("workload", "jobs", "flows"))
    )
    return "experiment" if is_experiment else "lab"


def _is_stored_experiment(name: str) -> bool:
    """Tell a shipped experiment from a lab; of a name that both have the lab is meant."""
    return name in topologies.experiments() and name not in {*topologies.files(), *topologies.generators()}


def _trial(checked: _Checked, settings: list[str]) -> Trial:
    """Return what would be run: the experiment, or an all-reduce on the lab."""
    if checked.kind == "lab":
        trial = read_trial(None, checked.file, settings)
        usual, kept = trial.experiment.lossless.priority, _kept(trial.lab)
        if kept and usual not in kept:
            needed = f"lossless.priority={min(kept)}"
            checked.warnings.append(
                f"{checked.file}: not all switches keep priority {usual}; run it with --set {needed}"
            )
            return read_trial(None, checked.file, [*settings, needed])
        return trial
    trial = read_trial(checked.file, None, settings)
    if trial.experiment.sweep is not None:
        combine(trial.experiment, axes_of(trial.experiment.sweep), lambda topology, settings: "")
    return trial


def _check_clocks(checked: _Checked, trial: Trial) -> None:
    """Check on both clocks. An experiment that names its clock is warned of what the other one would refuse."""
    experiment = trial.experiment
    named = experiment.clock if "clock" in experiment.model_fields_set or experiment.fast is not None else None
    compiled = False
    for clock in get_args(Clock):
        if checked.faults:
            return
        try:
            preflight.check(trial.under(clock), compiled=compiled)
            compiled = True
        except InputError as error:
            lines = checked.faults if named in (None, clock) else checked.warnings
            where = "" if clock == (named or "virtual") else f"under the {clock} clock: "
            lines += [str(dataclasses.replace(fault, message=where + fault.message)) for fault in error.faults]


def _kept(lab: Lab) -> set[int]:
    """Return the priorities that all switches keep."""
    return set(range(PRIORITIES)).intersection(*(switch.lossless for switch in lab.switches))


def _lab_cycles(lab: Lab) -> list[Cycle]:
    """Return what traffic between all hosts could make wait in a circle, on any priority that all switches keep."""
    kept = _kept(lab)
    if not kept:
        return []
    try:
        plan = compile_fabric(lab, Experiment(topology=lab.name, lossless=Lossless(priority=min(kept))))
    except InputError:
        return []  # thresholds are the experiment's to give; how the lab is wired is sound
    return find_cycles(plan, kept)
