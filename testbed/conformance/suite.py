"""All cases, and what running them comes to: an outcome for each, a document, an exit code. Either clock."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.conformance import (
    classes,
    congestion,
    fluctuation,
    generation,
    headroom,
    incast,
    lines,
    maps,
    marking,
    pause,
    scheduling,
    storms,
    thresholds,
    watchdogs,
)
from testbed.conformance.bench import Bench, Clock, OpenEngine
from testbed.conformance.case import Case, Lab, Measured, Place
from testbed.conformance.device import Device, Unsuitable, alike, device_of, without_watchdog
from testbed.conformance.names import PUBLIC, cases_of
from testbed.contract.plan import Plan
from testbed.errors import UsageError
from testbed.experiment.file import Experiment, experiment_from
from testbed.lab.topology import Lab as Topology
from testbed.lab.topology import lab_from
from testbed.plan.dilation import lateness_bound_ns
from testbed.run.fidelity import FidelityBounds, judge_fidelity
from testbed.run.verdict import FAILED, PASSED, UNTRUSTED
from testbed.schema.source import Source

CASES: tuple[Case, ...] = (
    *pause.CASES,
    *generation.CASES,
    *thresholds.CASES,
    *headroom.CASES,
    *lines.CASES,
    *incast.CASES,
    *congestion.CASES,
    *fluctuation.CASES,
    *storms.CASES,
    *classes.CASES,
    *maps.CASES,
    *scheduling.CASES,
    *marking.CASES,
    *watchdogs.CASES,
)

Mutation = Callable[[Plan], Plan]
SCHEMA = 1
_ATTEMPTS = 3
"""Times that a case is run before it counts as not to be trusted."""


@dataclass(frozen=True)
class Run:
    """One case at one place of one switch: what was measured, and what is wrong with it."""

    switch: str
    place: str
    measured: Measured
    failures: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """What became of a case. `skipped` says why it was not run, `distrust` why its figures cannot be relied on."""

    case: Case
    runs: Sequence[Run] = ()
    skipped: str = ""
    distrust: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """One of passed, failed, skipped."""
        if not self.runs:
            return "skipped"
        return "failed" if self.failures else "passed"

    @property
    def failures(self) -> list[str]:
        """Everything that is wrong, with the place where there are several."""
        places = len(self.runs) > 1
        return [
            f"{run.switch}, {run.place}: {failure}" if places else failure
            for run in self.runs
            for failure in run.failures
        ]

    @property
    def decisive(self) -> Run | None:
        """The run that decides the outcome: the first that failed, else the first."""
        return next((run for run in self.runs if run.failures), self.runs[0] if self.runs else None)

    def data(self) -> dict[str, Any]:
        """Return the outcome as JSON data; `measured` is that of the decisive run."""
        decisive = self.decisive
        return {
            "name": self.case.name,
            "outcome": self.outcome,
            "asserts": self.case.asserts,
            "source": self.case.source,
            "public": list(PUBLIC.get(self.case.name, ())),
            "measured": dict(decisive.measured) if decisive else {},
            "failures": self.failures,
            "reason": self.skipped,
            "trusted": not self.distrust,
            "distrust": list(self.distrust),
            "runs": [
                {
                    "switch": run.switch,
                    "place": run.place,
                    "measured": dict(run.measured),
                    "failures": list(run.failures),
                }
                for run in self.runs
            ],
        }


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 4 if the emulation was not faithful in some case, whatever was measured; else 1 if a case failed, or 0."""
    if any(outcome.distrust for outcome in outcomes):
        return UNTRUSTED
    return FAILED if any(outcome.outcome == "failed" for outcome in outcomes) else PASSED


def document(outcomes: Sequence[Outcome], clock: Clock, lab: str | None) -> dict[str, Any]:
    """Return the outcomes as one JSON document; `lab` is None where each case had its own."""
    counts = {kind: sum(outcome.outcome == kind for outcome in outcomes) for kind in ("passed", "failed", "skipped")}
    return {
        "schema": SCHEMA,
        "lab": lab,
        "clock": clock,
        **counts,
        "trusted": not any(outcome.distrust for outcome in outcomes),
        "cases": [outcome.data() for outcome in outcomes],
    }


def select(names: Sequence[str]) -> list[Case]:
    """Return the cases of these names, their own or public ones, all for none; raise UsageError for a name that no case has."""
    known = [case.name for case in CASES]
    chosen = {each for name in names for each in (cases_of(name) or [name])}
    for name in names:
        if name not in known and not cases_of(name):
            near = difflib.get_close_matches(name, known, 1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise UsageError(f'no case is called "{name}"{hint}')
    return [case for case in CASES if not names or case.name in chosen]


def own_devices(case: Case, clock: Clock, name: str) -> list[Device]:
    """Return the switches of a case's own labs."""
    return [device for lab in case.labs for device in (own_device(lab, clock, name),)]


def own_device(lab: Lab, clock: Clock, name: str) -> Device:
    """Put the switch of a minimal lab on a bench of this name."""
    topology = lab_from(Source("conformance", dict(lab.data)))
    data = {"topology": "conformance", "clock": clock, "emulation": "native"}
    experiment = experiment_from(Source("conformance", data)).with_overrides(lab.settings)
    return device_of(topology, topology.switches[0], experiment, name)


def devices_of(lab: Topology, experiment: Experiment, clock: Clock, names: Sequence[str], bench: str) -> list[Device]:
    """Return the switches of a lab, or those of these names, each put on a bench; of switches that are alike the first.

    Raises UsageError for a name that no switch has, or where no switch has a lossless priority.
    """
    known = [switch.name for switch in lab.switches]
    for name in names:
        if name not in known:
            raise UsageError(f'lab {lab.name} has no switch "{name}"; it has {", ".join(known) or "none"}')
    settings = experiment.model_copy(update={"clock": clock, "emulation": "native"})
    devices: list[Device] = []
    for switch in lab.switches:
        if names and switch.name not in names:
            continue
        try:
            device = device_of(lab, switch, settings, bench)
        except Unsuitable:
            continue
        if not any(alike(device, other) for other in devices):
            devices.append(device)
    if not devices:
        raise UsageError(f"lab {lab.name} has no switch with a lossless priority")
    return devices


@dataclass
class Suite:
    """Run cases on devices. `mutate` puts a defective switch on the bench, so that tests of this suite can see it fail."""

    clock: Clock
    open: OpenEngine
    mutate: Mutation | None = None
    clock_s: Callable[[], float] = field(default=lambda: 0.0)

    def run(self, case: Case, devices: Sequence[Device]) -> Outcome:
        """Run a case at every kind of place that these devices have."""
        if self.clock not in case.clocks:
            return Outcome(case, skipped=f"not under the {self.clock} clock")
        began_s = self.clock_s()
        runs: list[Run] = []
        distrust: list[str] = []
        reasons: dict[str, list[str]] = {}
        for device in devices:
            try:
                places = case.places(device)
            except Unsuitable as reason:
                reasons.setdefault(str(reason), []).append(device.name)
                continue
            for place in places:
                run, doubts = self._run(case, device, place)
                runs.append(run)
                distrust += [doubt for doubt in doubts if doubt not in distrust]
        skipped = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        return Outcome(case, runs, skipped, distrust, self.clock_s() - began_s)

    def _run(self, case: Case, device: Device, place: Place) -> tuple[Run, list[str]]:
        """Run a case at a place; where the emulation was not faithful once more, and again, each time slower."""
        plan = device.plan if case.watchdog else without_watchdog(device.plan)
        plan = self.mutate(plan) if self.mutate else plan
        for repeats in range(_ATTEMPTS):
            bench = Bench(device, self.clock, self.open, plan, repeats=repeats)
            measured = case.measure(bench, place)
            doubts = list(self._distrust(bench))
            if not doubts:
                break
        return Run(device.name, str(place), measured, case.judge(bench, place, measured)), doubts

    def _distrust(self, bench: Bench) -> Iterator[str]:
        if self.clock == "virtual":
            return
        bounds = FidelityBounds(lateness_p99_ns=float(lateness_bound_ns(bench.plan)))
        for report in bench.reports:
            yield from judge_fidelity(report["fidelity"], bounds)
