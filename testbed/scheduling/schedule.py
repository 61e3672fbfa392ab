"""Jobs of an experiment scheduled on a lab: an experiment whose jobs ask for ranks becomes one that lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from testbed.errors import ExperimentError, Fault, UsageError
from testbed.experiment.file import Experiment
from testbed.experiment.jobs import Job
from testbed.lab.hosts import Host
from testbed.lab.ranks import Rank, ranks_on, select
from testbed.lab.topology import Lab
from testbed.scheduling.interface import Assignment, Cluster, Policy, Request
from testbed.scheduling.registry import DEFAULT, policies
from testbed.schema.source import KeyPath

_PRIORITIES = 8


class _InvalidAssignment(Exception):
    """An assignment that no policy may return; the text says why."""


def scheduled(lab: Lab, experiment: Experiment) -> Experiment:
    """Return an experiment whose jobs list their ranks, as the policies that it names decide; itself if none has to.

    Raises ExperimentError, with the key that named it, for a policy that does not exist, raises, or returns an invalid
    assignment, and for more ranks than the lab has.
    """
    chosen = [_policy_of(job, experiment) for job in experiment.jobs]
    if not any(chosen):
        return experiment
    scheduling = _Scheduling(lab, experiment)
    for text in dict.fromkeys(text for text in chosen if text is not None):
        scheduling.follow(text, [number for number, own in enumerate(chosen) if own == text])
    jobs = tuple(map(_as_job, scheduling.requests))
    return experiment.model_copy(update={"jobs": jobs, "placement": None})


def _policy_of(job: Job, experiment: Experiment) -> str | None:
    """Return the policy that schedules a job; None for one that lists its ranks where no policy is named."""
    return job.place or experiment.placement or (DEFAULT if job.asked is not None else None)


def _as_job(request: Request) -> Job:
    changes: dict[str, object] = {"ranks": tuple(map(str, request.ranks)), "place": None}
    if request.start_ps != request.job.start:
        changes["start"] = request.start_ps
    if request.priority != request.job.priority:
        changes["priority"] = request.priority
    return request.job.model_copy(update=changes)


@dataclass
class _Scheduling:
    """The jobs of an experiment while policies schedule them; `settled` has the numbers of those that are done."""

    lab: Lab
    experiment: Experiment
    requests: list[Request] = field(init=False)
    hosts: Mapping[str, Host] = field(init=False)
    settled: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = {host.name: host for host in self.lab.hosts}
        self.requests = self._initial_requests()
        self.settled = {
            number for number, job in enumerate(self.experiment.jobs) if _policy_of(job, self.experiment) is None
        }
        self._check_room()

    @property
    def _all(self) -> list[Rank]:
        return [rank for host in self.lab.hosts for rank in ranks_on(host)]

    def _initial_requests(self) -> list[Request]:
        """Return the requests of jobs, with the ranks that they list."""
        requests, faults = [], list[Fault]()
        for number, job in enumerate(self.experiment.jobs):
            ranks, wrong = select(job.listed, self.hosts) if job.listed else (self._all, [])
            path = ("jobs", number, "ranks")
            faults += [self.experiment.fault(path, f"lab {self.lab.name} has {text}") for text in wrong]
            requested = job.asked
            if job.trace is not None and not job.ranks:
                # A trace needs as many ranks as it has.
                ranks = ranks[: len(job.trace.ranks)]
                requested = None if _policy_of(job, self.experiment) is None else len(job.trace.ranks)
            own = () if requested is not None else tuple(ranks)
            requests.append(Request(job, requested or len(own), own, job.start, job.priority))
        if faults:
            raise ExperimentError(faults)
        return requests

    def _check_room(self) -> None:
        """Raise for the first job that no free accelerators are left for: jobs that are placed share none."""
        free = len(self._free())
        for number, request in enumerate(self.requests):
            if request.missing > free:
                message = f"the job needs {request.count} ranks, and lab {self.lab.name} has {free} left"
                raise ExperimentError([self.experiment.fault(("jobs", number, "ranks"), message)])
            free -= request.missing

    def _free(self) -> list[Rank]:
        taken = {rank for request in self.requests for rank in request.ranks}
        return [rank for rank in self._all if rank not in taken]

    def follow(self, text: str, numbers: Sequence[int]) -> None:
        """Schedule the jobs of these numbers by the policies that a text names, one after the other."""
        job = self.experiment.jobs[numbers[0]]
        path: KeyPath = ("jobs", numbers[0], "place") if job.place == text else ("placement",)
        try:
            for name, policy in policies(text):
                self._apply(name, policy, numbers)
        except UsageError as error:
            if isinstance(error, ExperimentError):
                raise
            raise ExperimentError([self.experiment.fault(path, str(error))]) from error
        self.settled |= set(numbers)

    def _apply(self, name: str, policy: Policy, numbers: Sequence[int]) -> None:
        scheduled = tuple(self.requests[number] for number in sorted(self.settled))
        cluster = Cluster(self.lab, self.experiment, tuple(self._free()), scheduled)
        jobs = [self.requests[number] for number in numbers]
        try:
            assignments = list(policy(cluster, jobs))
        except ExperimentError:
            raise
        except UsageError as error:
            raise UsageError(f'policy "{name}": {error}') from error
        except Exception as error:
            raise UsageError(f'policy "{name}" failed: {type(error).__name__}: {error}') from error
        try:
            changed = self._checked(cluster, jobs, assignments)
        except _InvalidAssignment as error:
            raise UsageError(f'policy "{name}": {error}') from None
        for number, request in zip(numbers, changed, strict=True):
            self.requests[number] = request

    def _checked(self, cluster: Cluster, jobs: Sequence[Request], assignments: Sequence[object]) -> list[Request]:
        """Return jobs as a policy has scheduled them; raise _InvalidAssignment for what no policy may return."""
        if len(assignments) != len(jobs):
            raise _InvalidAssignment(f"{len(assignments)} assignments for {len(jobs)} jobs")
        free, owner = set(cluster.free), dict[Rank, str]()
        changed = []
        for job, assignment in zip(jobs, assignments, strict=True):
            if not isinstance(assignment, Assignment):
                raise _InvalidAssignment(f"job {job.name}: {type(assignment).__name__} is not an Assignment")
            ranks = self._ranks(job, assignment.ranks)
            for rank in ranks if job.missing else ():
                if rank not in free:
                    raise _InvalidAssignment(f"job {job.name}: {rank} belongs to another job already")
                if rank in owner:
                    raise _InvalidAssignment(f"job {job.name}: {rank} is given to job {owner[rank]} too")
                owner[rank] = job.name
            changed.append(_moved(replace(job, ranks=ranks), assignment))
        return changed

    def _ranks(self, job: Request, given: Iterable[object]) -> tuple[Rank, ...]:
        try:
            ranks = [self._rank(rank) for rank in given]
        except (TypeError, ValueError) as error:
            raise _InvalidAssignment(f"job {job.name}: {error}") from None
        if len(ranks) != job.count:
            raise _InvalidAssignment(f"job {job.name}: {len(ranks)} ranks, and it needs {job.count}")
        twice = (
            next((rank for number, rank in enumerate(ranks) if rank in ranks[:number]), None)
            if len(set(ranks)) < len(ranks)
            else None
        )
        if twice is not None:
            raise _InvalidAssignment(f"job {job.name}: {twice} is listed twice")
        if job.ranks and tuple(ranks) != job.ranks:
            raise _InvalidAssignment(f"job {job.name} has its ranks already, and a policy must not change them")
        return tuple(ranks)

    def _rank(self, given: object) -> Rank:
        """Return one rank of the lab, by itself or its text; raise ValueError or TypeError for any other."""
        if isinstance(given, Rank):
            host = self.hosts.get(given.host)
            if host is not None and 0 <= given.accelerator < host.accelerators:
                return ranks_on(host)[given.accelerator]
            raise ValueError(f"lab {self.lab.name} has no rank {given.host}/{given.accelerator}")
        if not isinstance(given, str):
            raise TypeError(f"{given!r} is not a rank")
        chosen, wrong = select([given], self.hosts)
        if wrong or len(chosen) != 1:
            raise ValueError(f"lab {self.lab.name} has {wrong[0]}" if wrong else f"{given} is {len(chosen)} ranks")
        return chosen[0]


def _moved(job: Request, assignment: Assignment) -> Request:
    """Return a job with its start shifted and its priority, as assigned."""
    shift, priority = assignment.shift_ps, assignment.priority
    if type(shift) is not int or shift < 0:
        raise _InvalidAssignment(f"job {job.name}: {shift!r} is not a shift in whole picoseconds")
    if priority is None:
        priority = job.priority
    elif type(priority) is not int or not 0 <= priority < _PRIORITIES:
        raise _InvalidAssignment(f"job {job.name}: {priority!r} is not a priority from 0 to 7")
    return replace(job, start_ps=job.start_ps + shift, priority=priority)
