"""Jobs of an experiment, from the file to one schedule of all ranks that take part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from testbed.errors import ExperimentError, Fault
from testbed.experiment.file import Experiment
from testbed.experiment.jobs import Job, Step
from testbed.experiment.sections import DEFAULT_SITES
from testbed.lab.hosts import Host
from testbed.lab.ranks import Rank, local_ranks, ranks_on, select
from testbed.lab.topology import Lab
from testbed.plan.ops import LONGEST_MESSAGE_BYTES
from testbed.plan.traces import Called, ops_of_trace, program_of, schedule_of, talks_of_trace
from testbed.traffic import RankSchedule, Recv, Schedule, Send, Shape
from testbed.traffic.program import Label, Part, Program, unrolled
from testbed.traffic.program import Step as Planned


@dataclass(frozen=True)
class PlannedJobs:
    """The schedule of all jobs, what each rank's calcs tell by their ends, and the jobs' programs.

    `ranks` are those of the schedule. `calls` has for each job and step of its program the collective, and its shape in
    each of the process groups; none for steps that are no collectives.
    """

    ranks: tuple[Rank, ...]
    schedule: Schedule
    labels: list[list[Label]]
    programs: tuple[Program, ...]
    calls: tuple[tuple[Called | None, ...], ...]


def ranks_of_jobs(lab: Lab, experiment: Experiment) -> list[list[Rank]]:
    """Return the ranks of each job; raise ExperimentError for those that the lab does not have."""
    hosts = {host.name: host for host in lab.hosts}
    ranks_of_jobs, faults = [], list[Fault]()
    for number, job in enumerate(experiment.jobs):
        path = ("jobs", number, "ranks")
        if job.asked is not None:
            faults.append(experiment.fault(path, f"{job.asked} ranks are asked for, and no policy has placed them"))
        chosen, wrong = select(job.listed, hosts) if job.listed else (_all(hosts), [])
        if job.trace is not None and not wrong:
            needed = len(job.trace.ranks)
            chosen = chosen if job.ranks else chosen[:needed]
            if len(chosen) != needed:
                text = f"{len(chosen)} ranks, and the trace {job.trace.files[0]} has {needed}"
                faults.append(experiment.fault(path, text))
        faults += [experiment.fault(path, f"lab {lab.name} has {text}") for text in wrong]
        ranks_of_jobs.append(chosen)
    if faults:
        raise ExperimentError(faults)
    return ranks_of_jobs


def _all(hosts: Mapping[str, Host]) -> list[Rank]:
    return [rank for host in hosts.values() for rank in ranks_on(host)]


def all_ranks(by_job: Iterable[Iterable[Rank]]) -> tuple[Rank, ...]:
    """Return every rank that takes part in some job once, in the order in which jobs name them."""
    return tuple(dict.fromkeys(rank for ranks in by_job for rank in ranks))


def plan_jobs(lab: Lab, experiment: Experiment, only: str | None = None) -> PlannedJobs:
    """Return what all jobs do, or one of them `only`, by its name, while the others do nothing.

    Raises ExperimentError, naming job and step, for what ranks or groups cannot do.
    """
    by_job = ranks_of_jobs(lab, experiment)
    _check_payload(experiment, by_job)
    ranks = all_ranks(by_job)
    places = {rank: place for place, rank in enumerate(ranks)}
    faults: list[Fault] = []
    programs, calls = list[Program](), list[tuple[Called | None, ...]]()
    talks = list[tuple[int, int, int]]()
    for number, (job, chosen) in enumerate(zip(experiment.jobs, by_job, strict=True)):
        idle = only is not None and job.name != only
        members = () if idle else tuple(places[rank] for rank in chosen)
        if job.trace is not None:
            # Of a job that is idle here nothing is asked.
            program, called = (Program((), ()), []) if idle else program_of(job.trace, members, job.repeat, job.start)
            programs.append(program)
            calls.append(tuple(called))
            talks += talks_of_trace(job.trace, members, number) if members else []
            continue
        steps, of_steps = list[Planned](), list[Called | None]()
        for position, step in enumerate(job.program):
            try:
                planned, call = plan_step(job, step, chosen)
            except ValueError as error:
                faults.append(experiment.fault(("jobs", number, "program", position), str(error)))
                continue
            steps.append(planned)
            of_steps.append(call)
        programs.append(Program(members, tuple(steps), repeat=job.repeat, start_ps=job.start))
        calls.append(tuple(of_steps))
    if faults:
        raise ExperimentError(faults)
    schedule, labels = unrolled(programs, len(ranks))
    schedule = replace(schedule, talks=tuple(talks))
    return PlannedJobs(ranks, schedule, labels, tuple(programs), tuple(calls))


def _check_payload(experiment: Experiment, by_job: Sequence[Sequence[Rank]]) -> None:
    """Raise ExperimentError where data and lengths alone meet in the memory of one rank."""
    lengths = {
        rank: job.name for job, ranks in zip(experiment.jobs, by_job, strict=True) if not job.payload for rank in ranks
    }
    for number, (job, ranks) in enumerate(zip(experiment.jobs, by_job, strict=True)):
        shared = next((rank for rank in ranks if rank in lengths), None) if job.payload else None
        if shared is not None:
            message = (
                f"{shared} is also in {lengths[shared]}, of which lengths alone travel; give both payload, or neither"
            )
            raise ExperimentError([experiment.fault(("jobs", number, "payload"), message)])


def memory_of_jobs(lab: Lab, experiment: Experiment) -> int:
    """Return how many bytes of memory the ranks of all jobs have together."""
    total = 0
    for job, chosen in zip(experiment.jobs, ranks_of_jobs(lab, experiment), strict=True):
        for step in job.program if job.payload else ():
            try:
                planned, _ = plan_step(job, step, chosen)
            except ValueError:
                continue  # `plan_jobs` says what is wrong with it
            total += planned.memory_bytes * job.repeat * len(chosen)
    return total


def ops_of_jobs(lab: Lab, experiment: Experiment) -> int:
    """Return how many ops all jobs come to, without making them, which slices may be too many for."""
    total = 0
    for job, chosen in zip(experiment.jobs, ranks_of_jobs(lab, experiment), strict=True):
        total += 0 if job.trace is None else job.repeat * ops_of_trace(job.trace)
        for step in job.program:
            total += 2 * job.repeat * len(chosen)
            whole = step.model_copy(update={"slice": None})
            try:
                planned, _ = plan_step(job, whole, chosen)
            except ValueError:
                continue  # `plan_jobs` says what is wrong with it
            lengths = (op.bytes for part in planned.parts for ranked in part.schedule.ranks for op in _messages(ranked))
            total += job.repeat * sum(-(-length // (step.slice or LONGEST_MESSAGE_BYTES)) for length in lengths)
    return total


def _messages(ranked: RankSchedule) -> Iterator[Send | Recv]:
    return (op for op in ranked.ops if isinstance(op, Send | Recv))


def plan_step(job: Job, step: Step, chosen: Sequence[Rank]) -> tuple[Planned, Called | None]:
    """Return a step of a job of these ranks as programs have it, and the collective that it is.

    Raises ValueError for what so many ranks cannot do.
    """
    ranks = len(chosen)
    names = {earlier.id: position for position, earlier in enumerate(job.program) if earlier.id is not None}
    waits = step.wait if step.after is None else step.after
    after = None if waits is None else tuple(names[name] for name in waits)
    beside = step.id is not None and step.communicates
    if step.send is not None:
        return Planned(None, tuple(_transfers(step, ranks, job.payload)), after, beside), None
    if step.collective is None:
        return Planned(step.compute, (), after, beside), None
    groups = job.groups[step.group].of(ranks) if step.group else [tuple(range(ranks))]
    shapes = tuple(_shape(step, [chosen[member] for member in group], job.payload) for group in groups)
    parts = [Part(group, schedule_of(step.definition, shape)) for group, shape in zip(groups, shapes, strict=True)]
    return Planned(None, tuple(parts), after, beside), (step.definition, shapes)


def _shape(step: Step, group: Sequence[Rank], payload: bool) -> Shape:
    return step.definition.sized(
        Shape(
            ranks=len(group),
            count=1,
            dtype=step.datatype or "float",
            slice_bytes=step.slice,
            payload=payload,
            sites=step.sites or DEFAULT_SITES,
            redop=step.redop or "sum",
            root=step.root or 0,
            channels=step.channels or 1,
            local_ranks=local_ranks(group) if (step.channels or 1) > 1 else 1,
        ),
        step.size_bytes,
    )


def _transfers(step: Step, ranks: int, payload: bool) -> Iterator[Part]:
    """Yield each message of a step that sends."""
    pairs: Sequence[tuple[int, int]] = list(zip(step.from_ or (), step.to or (), strict=True))
    for pair in pairs:
        if max(pair) >= ranks:
            raise ValueError(f"rank {max(pair)} is none of {ranks}, which count from 0")
        size = step.send or 0
        memory = size if payload else 0
        sender = RankSchedule(memory, (Send(1, 0, size, 0),) if size else ())
        receiver = RankSchedule(memory, (Recv(0, 0, size),) if size else ())
        yield Part(pair, Schedule((sender, receiver)))
