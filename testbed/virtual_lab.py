"""Labs from Python under the virtual clock, without root; and how the arguments of Python become settings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.errors import UsageError
from testbed.experiment.file import Experiment, load_experiment, new_experiment
from testbed.lab import topology
from testbed.run import result
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.provenance import Stopwatch
from testbed.run.result import RunResult
from testbed.run.trial import Trial, with_settings
from testbed.study import preflight


class Described:
    """What a lab of Python says of itself, whichever clock it is under."""

    _lab: topology.Lab

    @property
    def name(self) -> str:
        """The name of the lab."""
        return self._lab.name

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of its hosts; rank i of a collective runs on the i-th."""
        return tuple(host.name for host in self._lab.hosts)

    @property
    def switches(self) -> tuple[str, ...]:
        """The names of its switches."""
        return tuple(switch.name for switch in self._lab.switches)


class VirtualLab(Described):
    """A lab under the virtual clock: nothing is up, and every run begins anew, exact and the same each time.

    A context manager like `Lab`, so that a test can be given either. It has no programs, and no links to change by hand: what
    happens to links is said in an experiment's timeline.
    """

    dilation = 1

    def __init__(
        self, spec: str | Path, *, settings: Mapping[str, Any] | None = None, seed: int = 1, name: str | None = None
    ) -> None:
        given = {"clock": "virtual", "seed": seed, **(settings or {})}
        if given["clock"] != "virtual":
            raise UsageError(
                f"clock: {given['clock']}: Lab.virtual runs under the virtual clock; use Lab.deploy for the real one"
            )
        self._experiment = with_settings(new_experiment(str(spec), "all_reduce"), overrides(given))
        source = topology.lab_source(self._experiment.topology)
        if name is not None:
            source = topology.renamed(source, name)
        self._lab = topology.lab_from(source)
        self._settings = given
        preflight.check_lab(Trial(self._experiment, self._lab, written=source.data))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def run(
        self, what: str | Path = "all_reduce", *, pcap: Path | None = None, cores: int = 0, **workload: Any
    ) -> RunResult:
        """Run a collective, or an experiment file, on this lab, and judge it, as `Lab.run` does.

        The settings that the lab was made with hold for a file, too.

        `cores` is how many to run on, 0 for more than one where it pays; the result is the same on any number.
        """
        given = workload_settings(workload)
        experiment = experiment_of(self._experiment, what, self._settings, given)
        trial = Trial(experiment, self._lab)
        preflight.check(trial)
        watch = Stopwatch()
        outcome = run_virtual(trial, pcap, lambda progress: None, cores)
        if outcome.capture_fault is not None:
            warnings.warn(outcome.capture_fault, RuntimeWarning, stacklevel=2)
        arguments = ["run", str(what), "-t", experiment.topology, "--clock", "virtual"]
        arguments += [part for text in overrides({**self._settings, **given}) for part in ("--set", text)]
        replay = result.replay_command(arguments, experiment.seed)
        return conclude(trial, outcome, "virtual", self.dilation, replay).of(watch.provenance())


def workload_settings(workload: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys of Python as settings of the section `workload`."""
    return {f"workload.{key.replace('_', '-')}": value for key, value in workload.items()}


def experiment_of(base: Experiment, what: str | Path, kept: Mapping[str, Any], given: Mapping[str, Any]) -> Experiment:
    """Return what is to be run on the lab of `base`: an experiment file, in which `kept` holds, or a collective."""
    if str(what).endswith((".yaml", ".yml")):
        experiment = load_experiment(what).model_copy(update={"topology": base.topology})
        return experiment.with_overrides(overrides({**kept, **given}))
    return base.with_overrides(overrides({"workload.collective": str(what), **given}))


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as `--set` reads them; JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]
