"""What is refused before the first frame: faults that show only where a lab, an experiment and a clock meet.

`run`, `sweep` and `validate` all ask `check`, so that what one of them refuses, all of them refuse. `deploy` asks
`check_lab`: a lab that stays up may carry other traffic than a collective, and `run` on it asks for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from testbed.errors import ExperimentError, Fault, InputError, UsageError
from testbed.lab.topology import lab_source
from testbed.plan.workload import compile_workload
from testbed.run import expectation_names, traces_on_disk
from testbed.run.trial import Trial
from testbed.schema.source import dotted
from testbed.study import parallel


def check(trial: Trial, here: bool = True, compiled: bool = False) -> None:
    """Raise InputError with every fault that keeps a trial from being run on the clock of its experiment.

    Memory is that of this machine, and is not looked at where the run is not to be `here`: its agent does. `compiled`: its
    workloads were without fault on the other clock, and need not be compiled again, since they are the same.

    Each fault names the line of the experiment's file, or of the lab's. Cost: that of compiling the plan, which the trial
    keeps, and its smallest and largest workload.
    """
    workloads = _faults_of(
        trial,
        lambda: traces_on_disk.of_experiment(trial.experiment),
        lambda: _compile_workloads(trial, here, compiled),
    )
    expectations = expectation_names.faults(trial.experiment, trial.lab)
    _refuse(trial, [*_faults_of_clock(trial), *_faults_of_lab(trial), *workloads, *expectations])


def check_lab(trial: Trial) -> None:
    """Raise InputError, as `check` does, with every fault that keeps a lab from being brought up; it looks at no workload."""
    _refuse(trial, _faults_of_lab(trial))


def _refuse(trial: Trial, faults: Iterable[Fault]) -> None:
    if distinct := set(faults):
        raise InputError(_located(fault, trial) for fault in distinct)


def _faults_of_clock(trial: Trial) -> Iterator[Fault]:
    if trial.experiment.clock == "real" and trial.experiment.fast is not None:
        yield trial.experiment.fault(
            ("fast",), "the real clock skips nothing; leave it out, or choose the virtual clock"
        )


def _faults_of_lab(trial: Trial) -> Iterator[Fault]:
    return _faults_of(trial, lambda: trial.plan, lambda: trial.changes)


def _faults_of(trial: Trial, *parts: Callable[[], Any]) -> Iterator[Fault]:
    for compile_part in parts:
        try:
            compile_part()
        except InputError as error:
            yield from error.faults
        except UsageError as error:
            yield trial.experiment.fault(("workload",), str(error))


def _compile_workloads(trial: Trial, here: bool, compiled: bool) -> None:
    shapes = [] if trial.experiment.jobs or trial.experiment.flows else trial.series.shapes()
    # First: what does not fit in memory would not be compiled either.
    if here and (faults := trial.memory_faults(processes=parallel.processes_here())):
        raise ExperimentError(faults)
    if compiled:
        return
    if trial.program is not None:
        compile_workload(trial.lab, trial.experiment, trial.program)
        return
    for shape in dict.fromkeys((shapes[0], shapes[-1])):
        compile_workload(trial.lab, trial.experiment, trial.collective.schedule(shape))


def _located(fault: Fault, trial: Trial) -> Fault:
    """Return a fault of the lab or the experiment with its file, and the line of the nearest key that the file has."""
    if fault.file == "experiment":
        return trial.experiment.fault(tuple(fault.key.split(".")), fault.message)
    if fault.file != f"lab {trial.lab.name}":
        return fault
    source = lab_source(trial.experiment.topology)
    lines = {dotted(path): line for path, line in source.lines.items()}
    key = fault.key
    while key and key not in lines:
        key = re.sub(r"(^|\.)[^.\[\]]*$|\[\d+\]$", "", key)
    return Fault(source.file, lines[key], fault.key, fault.message) if key else fault
