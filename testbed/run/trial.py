"""One experiment on one lab, from its plan to its result, whichever clock runs it and whichever process.

The controller runs a trial under the virtual clock itself; under the real clock it sends the trial to the agent that
owns the lab, as `spec`, and gets the outcome back as `outcome_data`. Both go through `Trial.execute`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from testbed.buffers import deadlock
from testbed.buffers.deadlock import Cycle
from testbed.contract.plan import Plan
from testbed.contract.workload import Transport, Workload
from testbed.errors import ExperimentError, Fault, HostError, UsageError, cannot_write
from testbed.experiment import expectations
from testbed.experiment.axes import LAB
from testbed.experiment.file import Experiment
from testbed.experiment.sections import DEFAULT_SITES
from testbed.lab import received, watchdog
from testbed.lab.topology import Lab, with_parameters
from testbed.optics.energy import PoweredLink, energy_of_run
from testbed.plan.compile import circuit_changes, compile_fabric, ideal_busbw, rank_hosts
from testbed.plan.dilation import lateness_bound_ns
from testbed.plan.placement import Placement, placed
from testbed.plan.workload import compile_workload, talking_pairs, transport_of
from testbed.run import expectation_names, footprint, hints, in_force, result, storms, timeline
from testbed.run.engine import Engine
from testbed.run.execution import Outcome, Progress, Series, execute
from testbed.run.fidelity import FidelityBounds
from testbed.run.result import RunResult
from testbed.run.verdict import RunFacts
from testbed.traffic import Collective, Schedule
from testbed.units import format_time

Document = dict[str, Any]
Clock = Literal["virtual", "real"]

# Between two looks at progress and interrupts: some 20 ms of computing, and 20 ms of waiting.
BUDGET: dict[Clock, int] = {"virtual": 50_000, "real": 20}


@dataclass(frozen=True)
class Trial:
    """An experiment and its lab. Making one checks nothing; `plan` and `series` raise what is wrong with it.

    `written` is the lab as its file has it, for whoever wants that file back; `placement`, which agent has which node, if
    there are several.
    """

    experiment: Experiment
    lab: Lab
    written: Document | None = dataclasses.field(default=None, kw_only=True)
    placement: Placement | None = dataclasses.field(default=None, kw_only=True)

    def under(self, clock: Clock) -> Trial:
        """Return this trial on a clock, whatever the experiment says."""
        return dataclasses.replace(self, experiment=self.experiment.model_copy(update={"clock": clock}))

    @cached_property
    def plan(self) -> Plan:
        """The fabric plan."""
        plan = compile_fabric(self.lab, self.experiment)
        return plan if self.placement is None else placed(plan, self.placement, self.lab)

    @cached_property
    def changes(self) -> list[Document]:
        """What happens to links from the start of the first workload on: circuit switches, and the timeline."""
        found = [*circuit_changes(self.lab), *timeline.expand(self.lab, self.experiment)]
        return sorted(found, key=lambda change: (change["at_ps"], change["link"], change["way"]))

    @cached_property
    def cycles(self) -> list[Cycle]:
        """The buffers that the workload can make wait in a circle."""
        # Acknowledgements ride on the same priority, so each pair counts both ways.
        pairs = [*self.pairs, *((b, a) for a, b in self.pairs)]
        return deadlock.find_cycles(self.plan, [self.experiment.lossless.priority], pairs)

    @cached_property
    def _longest(self) -> Schedule:
        """The schedule of the largest size, in messages as long as can be: who talks to whom does not hang on slices."""
        largest = self.series("virtual").shapes()[-1]
        return self.collective.schedule(dataclasses.replace(largest, slice_bytes=None))

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The stations that talk to each other, each pair once."""
        hosts = {host.name: index for index, host in enumerate(self.lab.hosts)}
        ranks = [hosts[name] for name in rank_hosts(self.lab, self.experiment)]
        return [(ranks[a], ranks[b]) for a, b in talking_pairs(self._longest)]

    @cached_property
    def transport(self) -> Transport:
        """The transport of the workload, as its plan has it: window and timeout decided."""
        return transport_of(self.lab, self.experiment, self._longest)

    @cached_property
    def _setup(self) -> hints.Setup:
        return hints.Setup(self.lab, self.experiment, self.plan, self.transport, self.pairs)

    @cached_property
    def hints(self) -> list[hints.Hint]:
        """Settings that will have no effect, as far as the plan shows it."""
        return hints.before(self._setup)

    def in_force(self, dilation: int) -> Document:
        """Return what every setting came to that could be `auto`, for run.json."""
        return in_force.settings(self.lab, self.experiment, self.plan, self.transport, dilation)

    def links(self) -> list[Document]:
        """Return what each link does, and of links with a profile why, for run.json."""
        return in_force.links(self.lab)

    @property
    def bounds(self) -> FidelityBounds:
        """What a run under the real clock may show and still be trusted."""
        return FidelityBounds(lateness_p99_ns=float(lateness_bound_ns(self.plan)))

    @property
    def collective(self) -> Collective:
        """The collective, restricted to what the workload asks for."""
        workload = self.experiment.workload
        known = workload.found
        return dataclasses.replace(known, in_place=known.in_place and workload.in_place)

    def series(self, clock: Clock) -> Series:
        """Return the rows to run."""
        workload = self.experiment.workload
        return Series(
            collective=self.collective,
            ranks=len(rank_hosts(self.lab, self.experiment)),
            min_bytes=workload.sizes[0],
            max_bytes=workload.sizes[-1],
            step_factor=workload.stepfactor,
            iterations=workload.iterations,
            dtype=workload.datatype,
            seed=self.experiment.seed,
            slice_bytes=workload.slice,
            payload=workload.payload,
            sites=workload.sites or DEFAULT_SITES,
            budget=BUDGET[clock],
            limit_ps=self.experiment.limit,
            warmup_ps=self.experiment.warmup,
            window_ps=self.experiment.window,
        )

    def memory_faults(self, agent: str | None = None, processes: int = 1) -> list[Fault]:
        """Return a fault if the largest row takes more memory than this machine has to give; a share, if so many run at once.

        Of a lab that several agents have, what `agent` has counts.
        """
        available = footprint.available_bytes()
        needed = footprint.footprint(self.series("virtual"), self.plan, self._ranks_of(agent))
        message = None if available is None else needed.shortage(available // processes)
        said = self.experiment.workload.model_fields_set
        key = next((key for key in ("maxbytes", "minbytes", "size") if key in said), "size")
        return [self.experiment.fault(("workload", key), message)] if message else []

    def execute(
        self, engine: Engine, clock: Clock, progress: Callable[[Progress], None], agent: str | None = None
    ) -> Outcome:
        """Run every row on an engine that holds this trial's plan; its timeline starts with the first of them.

        Of a lab that several agents have, what `agent` has: the others run the rest. Directions of links that were left down
        are named among the reasons of an outcome that is not complete.
        """

        def compile_schedule(schedule: Schedule) -> Workload:
            return compile_workload(self.lab, self.experiment, schedule)

        if self.changes:
            engine.impair(json.dumps(self.changes))
        try:
            outcome = execute(engine, self.series(clock), compile_schedule, progress, self._ranks_of(agent))
        except MemoryError as error:
            # Others took since what was there when it was reckoned.
            message = f"the machine ran out of memory{f': {error}' if str(error) else ''}; send lengths alone (payload: false)"
            raise ExperimentError([self.experiment.fault(("workload",), message)]) from error
        outcome.received_bits = self._received_bits(outcome.report)
        outcome.impairments = timeline.log(
            self.lab, self.changes, outcome.report, outcome.start_ps or 0, outcome.end_ps
        )
        outcome.storms = list(storms.explain(self.plan, outcome.report, outcome.impairments, outcome.start_ps or 0))
        if not outcome.complete and not outcome.interrupted:
            outcome.reasons += timeline.cut_off(self.lab, outcome.impairments)
        return outcome

    def _received_bits(self, report: Document) -> dict[str, int]:
        """Return what each end of a link with a profile has received."""
        ends = [str(end) for link in self.lab.links if link.optics for end in (link.a, link.b)]
        ports = report["ports"]
        return {
            end: sum(8 * counters["bytes_rx"] for counters in ports[end]["priorities"].values())
            for end in ends
            if end in ports
        }

    def _ranks_of(self, agent: str | None) -> set[int] | None:
        """Return the ranks on hosts of an agent; None if that is all of them."""
        if self.placement is None or agent is None:
            return None
        here = self.placement.nodes_of(agent)
        return {rank for rank, host in enumerate(rank_hosts(self.lab, self.experiment)) if host in here}

    def unreached(self, outcome: Outcome) -> list[Fault]:
        """Return a fault for each entry of the timeline, and for a warm-up, that a complete run ended before."""
        if not outcome.complete:
            return []
        faults = timeline.never_reached(self.experiment, outcome.impairments)
        warmup = self.experiment.warmup
        if warmup is not None and outcome.report["settled"] is None:
            message = f"there is no settled state: the run was over before {format_time(warmup)}"
            faults.append(self.experiment.fault(("warmup",), message))
        return faults

    def unknown_names(self, judged: RunResult) -> list[Fault]:
        """Return a fault for each name in `expect:` that the result of a complete run does not have."""
        if not judged.verdict.complete:
            return []
        return list(expectation_names.faults_in(self.experiment, self.lab, judged.model_dump(mode="json")))

    def conclude(self, outcome: Outcome, clock: Clock, dilation: int, replay: str) -> RunResult:
        """Judge an outcome, expectations included."""
        facts = RunFacts(
            lab=self.lab.name,
            seed=self.experiment.seed,
            clock=clock,
            dilation=dilation,
            replay=replay,
            collective=self.collective.name,
            algorithm=self.collective.algorithm,
            ranks=len(rank_hosts(self.lab, self.experiment)),
            root=self.collective.root,
            bounds=self.bounds,
            energy=self._energy(outcome),
            watchdogs=watchdog.settings_in_force(self.plan),
            buffer_cycles=tuple(cycle.ports for cycle in self.cycles),
            in_force=self.in_force(dilation),
            links=tuple(self.links()),
            hints=tuple(dataclasses.asdict(hint) for hint in [*self.hints, *hints.after(self._setup, outcome.report)]),
        )
        judged = result.assemble(facts, outcome)
        if not self.experiment.expect:
            return judged
        checks = expectations.check_all(self.experiment.expect, judged.model_dump(mode="json"), self._figures(outcome))
        return result.assemble(facts, outcome, [check.explanation for check in checks if not check.held])

    def _energy(self, outcome: Outcome) -> Document:
        """Return what links with a profile spent while the workloads ran that came to their end."""
        links = [
            PoweredLink(
                name=f"{link.a} - {link.b}",
                profile=found.profile,
                power_w=found.power_w,
                rate_bps=found.rate_bps,
                useful_bits=sum(outcome.received_bits.get(str(end), 0) for end in (link.a, link.b)),
            )
            for link in self.lab.links
            if (found := self.lab.behaviour(link)) is not None
        ]
        times = self.experiment.workload.iterations
        measured = [found for row in outcome.rows for found in (row, row["in_place"]) if found]
        duration_ps = sum(round(found["time_us"] * 10**6) * times for found in measured)
        useful_bits = sum(8 * flow["bytes"] for flow in outcome.flows if flow["completion_ns"] is not None)
        return energy_of_run(links, duration_ps, useful_bits, self.experiment.prices)

    def _figures(self, outcome: Outcome) -> dict[str, float]:
        """Return what expectations may name besides the document: `expectation_names.FIGURES`.

        Time and bandwidth are those of the last and largest row that was completed, `wrong` the wrong elements of all rows;
        where lengths were sent nothing was compared, and there is no `wrong`.
        """
        figures = {"ideal": ideal_busbw(self.lab)}
        counts = [part["wrong"] for row in outcome.rows for part in (row, row["in_place"]) if part]
        if None not in counts:
            figures["wrong"] = sum(counts)
        if outcome.rows:
            last = outcome.rows[-1]
            figures |= {
                "time_us": last["time_us"],
                "algbw": last["algbw_gbytes_per_s"],
                "busbw": last["busbw_gbytes_per_s"],
            }
        return figures

    def spec(self) -> Document:
        """Return this trial as JSON data, for `from_spec`."""
        spec = {"experiment": self.experiment.data(), "lab": self.lab.model_dump(mode="json", by_alias=True)}
        return spec if self.placement is None else {**spec, "placement": self.placement.model_dump()}


def with_settings(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """Return an experiment with `key=value` settings replaced, `topology.` and a parameter of the lab's generator among them.

    Raises UsageError for a key that does not exist, ExperimentError for a value that it cannot have.
    """
    of_lab: dict[str, str] = {}
    others = []
    for setting in settings:
        key, _, value = setting.partition("=")
        section, dot, parameter = key.strip().partition(".")
        if section == LAB and dot:
            if not value.strip() or set(value) & set(",="):
                raise UsageError(f'"{setting}" is not a parameter of a lab; write it like topology.length=80km')
            of_lab[parameter] = value.strip()
        else:
            others.append(setting)
    changed = experiment.with_overrides(others)
    return changed.model_copy(update={"topology": with_parameters(changed.topology, of_lab)}) if of_lab else changed


def from_spec(spec: Document) -> Trial:
    """Read a trial from JSON data that may come from anywhere. Raises UsageError."""
    if spec.keys() - {"placement"} != {"experiment", "lab"}:
        raise UsageError("spec: expected experiment and lab")
    lab = received.read_lab(spec["lab"], "spec: lab")
    try:
        placement = Placement.model_validate(spec["placement"]) if "placement" in spec else None
        if placement is not None and {node.name for node in lab.nodes} != placement.nodes.keys():
            raise UsageError("spec: the placement is of other nodes than the lab")
        return Trial(Experiment.model_validate(spec["experiment"]), lab, placement=placement)
    except ValidationError as error:
        raise UsageError(f"spec: {error.error_count()} faults, the first: {error.errors()[0]['msg']}") from None


def outcome_data(outcome: Outcome) -> Document:
    """Return an outcome as JSON data, for `outcome_from`."""
    return dataclasses.asdict(outcome)


def outcome_from(data: Document) -> Outcome:
    """Read an outcome that an agent sent."""
    return Outcome(**data)


def run_virtual(trial: Trial, pcap: Path | None, progress: Callable[[Progress], None], cores: int = 1) -> Outcome:
    """Run a trial under the virtual clock, in this process, on so many cores; 0: on more than one where it pays.

    The outcome does not depend on `cores`. Raises UsageError or HostError when the capture cannot be begun; where it cannot be
    ended, the outcome says so.
    """
    from testbed._dataplane import VirtualFabric

    fabric = VirtualFabric(json.dumps(trial.plan), cores)
    try:
        fabric.capture(str(pcap) if pcap else None)
    except OSError as error:
        raise captured_error(pcap, error) from error
    outcome = trial.execute(fabric, "virtual", progress)
    try:
        fabric.capture(None)
    except OSError as error:
        outcome.capture_fault = f"{captured_error(pcap, error)}; it ends before the run"
    return outcome


def captured_error(pcap: object, error: OSError) -> UsageError | HostError:
    """Return what `errors.cannot_write` makes of an error of the data plane, in the system's own words."""
    return cannot_write(pcap, OSError(error.errno, os.strerror(error.errno)) if error.errno else error)
