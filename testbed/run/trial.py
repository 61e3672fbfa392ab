"""A trial: one experiment on one lab, and what the two compile to, once, for the clock that will run them.

`perform` runs it on an engine, in this process or in that of the agent that owns the lab, to which it goes as `spec`;
`judgement` makes a result of what came of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from testbed.buffers import deadlock
from testbed.buffers.deadlock import Cycle
from testbed.contract.plan import Plan, SeriesPlan
from testbed.contract.workload import Transport
from testbed.errors import ExperimentError, Fault, UsageError
from testbed.experiment.axes import LAB
from testbed.experiment.file import Experiment
from testbed.experiment.sections import DEFAULT_SITES
from testbed.lab import received
from testbed.lab.ranks import local_ranks
from testbed.lab.topology import Lab, with_parameters
from testbed.plan.compile import chosen_ranks, circuit_changes, compile_fabric
from testbed.plan.dilation import lateness_bound_ns
from testbed.plan.flows import PlannedFlows, plan_flows
from testbed.plan.jobs import PlannedJobs, memory_of_jobs, ops_of_jobs, plan_jobs
from testbed.plan.placement import Placement, placed
from testbed.plan.queue_pairs import QueuePairs, Talk, sends_of
from testbed.plan.reach import Reach, bytes_by_reach
from testbed.plan.workload import queue_pairs_of, transport_of
from testbed.run import footprint, hints, in_force, length, rerouting, timeline
from testbed.run.fidelity import FidelityBounds
from testbed.run.series import Series
from testbed.schema.listed import split_list
from testbed.timeseries.limits import plan_series
from testbed.traffic import Collective, Schedule

Document = dict[str, Any]
Clock = Literal["virtual", "real"]


@dataclass(frozen=True)
class Trial:
    """An experiment and its lab. `plan` and `series` raise what is wrong with it.

    Making one schedules jobs that ask for it, and raises ExperimentError where they cannot be; it checks nothing else.
    `only` names the job that runs while all others do nothing. `written` is the lab as its file has it, for whoever wants that
    file back; `placement`, which agent has which node, if there are several.
    """

    experiment: Experiment
    lab: Lab
    written: Document | None = dataclasses.field(default=None, kw_only=True)
    placement: Placement | None = dataclasses.field(default=None, kw_only=True)
    only: str | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.experiment.jobs:
            # Policies take a while to import, and most runs have no jobs.
            from testbed.scheduling.schedule import scheduled

            object.__setattr__(self, "experiment", scheduled(self.lab, self.experiment))

    def under(self, clock: Clock, dilation: int | None = None) -> Trial:
        """Return this trial on a clock, and at a dilation if one is given, whatever the experiment says; not yet compiled."""
        changes = {"clock": clock} if dilation is None else {"clock": clock, "dilation": dilation}
        return dataclasses.replace(self, experiment=self.experiment.model_copy(update=changes))

    @cached_property
    def plan(self) -> Plan:
        """The fabric plan."""
        plan = compile_fabric(self.lab, self.experiment)
        return plan if self.placement is None else placed(plan, self.placement, self.lab)

    @cached_property
    def changes(self) -> list[Document]:
        """What happens to links from the start of the first workload on: circuit switches, and the timeline."""
        timed = timeline.expand(self.lab, self.experiment)
        changes = [*circuit_changes(self.lab), *timed, *rerouting.follow(self.lab, timed)]
        return sorted(changes, key=lambda change: (change["at_ps"], change["link"], change["way"]))

    @cached_property
    def cycles(self) -> list[Cycle]:
        """The buffers that the workload can make wait in a circle."""
        # Acknowledgements ride on the same priority, so each pair counts both ways.
        pairs = [*self.pairs, *((b, a) for a, b in self.pairs)]
        flows = (self.experiment.flows and self.experiment.flows.list) or ()
        said = [*(job.priority for job in self.experiment.jobs), *(flow.priority for flow in flows)]
        given = {priority for priority in said if priority is not None}
        return deadlock.find_cycles(self.plan, sorted({self.experiment.lossless.priority, *given}), pairs)

    @cached_property
    def jobs(self) -> PlannedJobs | None:
        """What the jobs of the experiment do, one of them alone if only that is to run; None if it has a workload."""
        return plan_jobs(self.lab, self.experiment, self.only) if self.experiment.jobs else None

    @cached_property
    def flows(self) -> PlannedFlows | None:
        """The flows of the experiment, in the order of their starts; None if it has none."""
        return plan_flows(self.lab, self.experiment) if self.experiment.flows is not None else None

    @property
    def program(self) -> Schedule | None:
        """What runs all at once, of jobs or of flows; None if rows of a collective are run."""
        if self.jobs is not None:
            return self.jobs.schedule
        return None if self.flows is None else self.flows.schedule

    @property
    def whole(self) -> Schedule:
        """What is run: of a collective the largest size, once, as its lengths alone."""
        if self.program is not None:
            return self.program
        return self.series.schedule(max(self.series.shapes(), key=lambda shape: shape.size_bytes))

    @cached_property
    def _sends(self) -> set[Talk]:
        """Which rank sends to which in any row: of the largest size, whatever slices its messages are cut into."""
        if self.program is not None:
            return sends_of(self.program)
        series = self.series
        largest = max(shape.size_bytes for shape in series.shapes())
        shapes = {shape.root: shape for shape in series.shapes() if shape.size_bytes == largest}
        whole = [dataclasses.replace(shape, slice_bytes=None) for shape in shapes.values()]
        return {talk for shape in whole for talk in sends_of(self.collective.schedule(shape))}

    @cached_property
    def _queue_pairs(self) -> QueuePairs:
        return queue_pairs_of(self.lab, self.experiment, self._sends)

    @property
    def reach(self) -> dict[Reach, int] | None:
        """How many bytes jobs send how far; None of anything else."""
        return None if self.jobs is None else bytes_by_reach(self._queue_pairs, self.jobs.schedule)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The stations that talk to each other, each pair once."""
        ports = self.lab.ports
        nics = {(end.node, ports[end.node].index(end.port)): index for index, end in enumerate(self.lab.nics)}
        used = (ends for ends in self._queue_pairs.ends if ends is not None)
        return list(dict.fromkeys((nics[ends.a], nics[ends.b]) for ends in used))

    @cached_property
    def transport(self) -> Transport:
        """The transport of the workload, as its plan has it: window and timeout decided."""
        return transport_of(self._queue_pairs)

    @cached_property
    def setup(self) -> hints.Setup:
        """What hints are made of."""
        return hints.Setup(self.lab, self.experiment, self.plan, self.transport, self.pairs)

    @cached_property
    def hints(self) -> list[hints.Hint]:
        """Settings that will have no effect, as far as the plan shows it."""
        return hints.before(self.setup)

    def in_force(self, dilation: int) -> Document:
        """Return what every setting came to that could be `auto`, for run.json."""
        return in_force.settings(self.lab, self.experiment, self.plan, self.transport, dilation)

    def links(self) -> list[Document]:
        """Return what each link does, and of links with a profile why, for run.json."""
        return in_force.links(self.lab)

    @cached_property
    def series_plan(self) -> SeriesPlan | None:
        """What is recorded at multiples of a period; None if nothing is."""
        asked, sent = self.experiment.series, self.experiment.clock == "real"
        return None if asked is None else plan_series(asked, self.plan, self.least_ps, sent)

    def least_ps(self) -> int:
        """Return how long the run takes at least, in ps; 0 where nothing is known of that."""
        ranks = chosen_ranks(self.lab, self.experiment)
        if self.program is None:
            return length.of_series(self.series, ranks, self.plan)
        last_ps = length.of_flows(self.flows.flows) if self.flows is not None else 0
        return max(last_ps, length.of_schedule(self.program, ranks, self.plan))

    @property
    def bounds(self) -> FidelityBounds:
        """What a run under the real clock may show and still be trusted."""
        return FidelityBounds(lateness_p99_ns=float(lateness_bound_ns(self.plan)))

    def check_agents(self) -> None:
        """Raise ExperimentError for what several agents cannot run together: jobs and flows, which one puts in one program."""
        if self.placement is not None and (self.experiment.jobs or self.experiment.flows):
            what = self.name
            message = f"{what} run with one agent, and the lab has several; name one, or run a collective"
            raise ExperimentError([self.experiment.fault((what,), message)])

    @property
    def name(self) -> str:
        """What is run: a collective by its name, jobs or flows."""
        return "jobs" if self.experiment.jobs else "flows" if self.experiment.flows else self.collective.name

    @property
    def collective(self) -> Collective:
        """The collective, restricted to what the workload asks for."""
        workload = self.experiment.workload
        known = workload.definition
        return dataclasses.replace(known, in_place=known.in_place and workload.in_place)

    @cached_property
    def series(self) -> Series:
        """The rows to run."""
        workload = self.experiment.workload
        ranks = len(chosen_ranks(self.lab, self.experiment))
        if isinstance(workload.root, int) and workload.root >= ranks:
            message = f"{workload.root} is none of {ranks} ranks, which count from 0"
            raise ExperimentError([self.experiment.fault(("workload", "root"), message)])
        return Series(
            collective=self.collective,
            ranks=ranks,
            min_bytes=workload.sizes[0],
            max_bytes=workload.sizes[-1],
            step_factor=workload.stepfactor,
            iterations=workload.iterations,
            step_bytes=workload.stepbytes,
            dtype=workload.datatype,
            redop=workload.redop,
            root=workload.root,
            aggregate=workload.aggregate,
            warmup=workload.warmup_iterations,
            seed=self.experiment.seed,
            slice_bytes=workload.slice,
            payload=workload.payload,
            sites=workload.sites or DEFAULT_SITES,
            channels=workload.channels,
            local_ranks=local_ranks(chosen_ranks(self.lab, self.experiment)),
            limit_ps=self.experiment.limit,
            warmup_ps=self.experiment.warmup,
            window_ps=self.experiment.window,
        )

    def memory_faults(self, agent: str | None = None, processes: int = 1) -> list[Fault]:
        """Return a fault if the largest row takes more memory than this machine has to give; a share, if so many run at once.

        Of a lab that several agents have, what `agent` has counts.
        """
        available = footprint.available_bytes()
        if self.experiment.jobs or self.experiment.flows:
            return self._program_faults(available)
        needed = footprint.footprint(self.series, self.plan, self.ranks_of(agent))
        message = None if available is None else needed.shortage(available // processes)
        given = self.experiment.workload.model_fields_set
        key = next((key for key in ("maxbytes", "minbytes", "size") if key in given), "size")
        return [self.experiment.fault(("workload", key), message)] if message else []

    def _program_faults(self, available: int | None) -> list[Fault]:
        """Return a fault if the jobs or the flows come to more ops than so many bytes hold."""
        data = 0
        if self.flows is not None:
            what, ops, ways_out = "flows", 3 * len(self.flows.flows), "fewer flows"
        else:
            what, ops = "jobs", ops_of_jobs(self.lab, self.experiment)
            ways_out = "fewer ranks, fewer repetitions or larger slices"
            data = memory_of_jobs(self.lab, self.experiment)
        needed = footprint.FIXED_BYTES + ops * footprint.OP_BYTES + data
        if available is None or needed <= available:
            return []
        message = (
            f"the ops of all {what} take {needed:,} bytes of memory, and {available:,} are available; choose {ways_out}"
        )
        return [self.experiment.fault((what,), message)]

    def ranks_of(self, agent: str | None) -> set[int] | None:
        """Return the ranks on hosts of an agent; None if that is all of them."""
        if self.placement is None or agent is None:
            return None
        here = self.placement.nodes_of(agent)
        return {number for number, rank in enumerate(chosen_ranks(self.lab, self.experiment)) if rank.host in here}

    def settings(self) -> Document:
        """Return the lab and the experiment as JSON data, with defaults; of traces the names of their files alone."""
        jobs = self.experiment.jobs
        bare = self.experiment.model_copy(
            update={"jobs": tuple(job.model_copy(update={"trace": None}) for job in jobs)}
        )
        experiment = bare.model_dump(mode="json", by_alias=True)
        for job, written in zip(jobs, experiment["jobs"], strict=True):
            written["trace"] = None if job.trace is None else list(job.trace.files)
        return {"lab": self.lab.model_dump(mode="json", by_alias=True), "experiment": experiment}

    def spec(self) -> Document:
        """Return this trial as JSON data, for `from_spec`."""
        spec: Document = {"experiment": self.experiment.data(), "lab": self.lab.model_dump(mode="json", by_alias=True)}
        if self.only is not None:
            spec["only"] = self.only
        return spec if self.placement is None else {**spec, "placement": self.placement.model_dump()}


def with_settings(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """Return an experiment with `key=value` settings replaced, `topology.` and a parameter or key of the lab among them.

    Raises UsageError for a key that does not exist, ExperimentError for a value that it cannot have.
    """
    of_lab: dict[str, str] = {}
    others = []
    for setting in settings:
        key, _, value = setting.partition("=")
        section, dot, parameter = key.strip().partition(".")
        if section == LAB and dot:
            if not value.strip() or "=" in value or len(split_list(value)) > 1:
                raise UsageError(f'"{setting}" is not a parameter of a lab; write it like topology.length=80km')
            of_lab[parameter] = value.strip()
        else:
            others.append(setting)
    changed = experiment.with_overrides(others)
    return changed.model_copy(update={"topology": with_parameters(changed.topology, of_lab)}) if of_lab else changed


def from_spec(spec: Document) -> Trial:
    """Read a trial from JSON data that may come from anywhere. Raises UsageError."""
    if spec.keys() - {"placement", "only"} != {"experiment", "lab"}:
        raise UsageError("spec: expected experiment and lab")
    lab = received.read_lab(spec["lab"], "spec: lab")
    try:
        placement = Placement.model_validate(spec["placement"]) if "placement" in spec else None
        if placement is not None and {node.name for node in lab.nodes} != placement.nodes.keys():
            raise UsageError("spec: the placement is of other nodes than the lab")
        experiment = Experiment.model_validate(spec["experiment"])
        only = spec.get("only")
        if only is not None and only not in [job.name for job in experiment.jobs]:
            raise UsageError("spec: only: no job of the experiment")
        return Trial(experiment, lab, placement=placement, only=only)
    except ValidationError as error:
        raise UsageError(f"spec: {error.error_count()} faults, the first: {error.errors()[0]['msg']}") from None
