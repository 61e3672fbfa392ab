"""Policies of scheduling tried on the jobs of one experiment, each under the virtual clock, the best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testbed.errors import UsageError
from testbed.experiment.file import Experiment
from testbed.experiment.placements import names_file, read_placement
from testbed.lab.topology import Lab
from testbed.run.job_result import JobResult
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.scheduling.registry import names, policies
from testbed.study import sweep
from testbed.study.combinations import Combination, Finished, SweepRow
from testbed.study.document import HELD, Document, Model, Verdict, exit_code_of
from testbed.study.means import Means

POLICY = "placement"


class Comparison(Model):
    """What policies are compared by; slowdowns are of jobs, against each alone on the same ranks.

    `exposed_us` is communication that no computing hid, of all jobs and iterations together, each as the mean over its ranks.
    `pause_frames` were sent by all ports, and `paused_us` is how long the one that was paused longest stood still. What links
    with a profile consumed is null where none has one, and a cost where there are no prices. `far_share` is the share of bytes
    that went over several switches or to another site.
    """

    makespan_us: float
    slowdown_mean: float | None
    slowdown_worst: float | None
    exposed_us: float
    pause_frames: int
    paused_us: float
    joules: float | None
    cost: float | None
    far_share: float | None


class ScheduledJob(Model):
    """What a policy decided of a job, and what came of it; `priority` is null where it is that of the run."""

    name: str
    ranks: list[str]
    start_us: float
    priority: int | None
    end_us: float | None
    exposed_us: float
    slowdown: float | None


class ScheduleRow(Model):
    """One policy; `figures` is null if not all jobs came to their end."""

    policy: str
    verdict: Verdict
    reasons: list[str]
    figures: Comparison | None
    jobs: list[ScheduledJob]
    event_log_hash: str | None
    replay: str


class ScheduleResult(Document):
    """The document schedule.json; rows are the best first: by makespan, then by the worst slowdown."""

    rows: list[ScheduleRow]

    @property
    def exit_code(self) -> int:
        """Return 0 if every policy ran to its end and held what was expected, 3 after a defect, else 1."""
        return exit_code_of(row.verdict for row in self.rows)


def read_policies(text: str | None) -> dict[str, str]:
    """Return the policies of a list with commas, each with what an experiment says for it; all that there are without one.

    Names of files (.conf) are of placements as Slurm writes them. Raises UsageError for an unknown policy, and TopologyError for
    what such a file cannot mean.
    """
    words = names() if text is None else [word.strip() for word in text.split(",")]
    chosen: dict[str, str] = {}
    for word in words:
        if word in chosen:
            raise UsageError(f"--policy {text}: {word} is listed twice")
        chosen[word] = read_placement(word, Path()) if names_file(word) else word
        policies(chosen[word])
    return chosen


def combine(base: Experiment, lab: Lab, chosen: Mapping[str, str], replay: Callable[[str], str]) -> list[Combination]:
    """Return a trial for each policy, by the name that its row has. Raises ExperimentError for jobs that it cannot schedule."""
    if not base.jobs:
        raise UsageError("the experiment has no jobs to schedule")
    bare = base.model_copy(update={"sweep": None, "clock": "virtual"})
    work = []
    for name, policy in chosen.items():
        trial = Trial(bare.model_copy(update={POLICY: policy}), lab)
        work.append(Combination(((POLICY, name),), trial, "", replay(name), alone=True))
    return work


def run(work: Sequence[Combination], means: Means, progress: Callable[[int, Finished], None]) -> list[ScheduleRow]:
    """Try every policy, and return the rows, best first.

    `progress` is called as each is finished, in any order.
    """
    results: dict[int, RunResult | None] = {}

    def finished(number: int, done: Finished) -> None:
        results[number] = done.result
        progress(number, done)

    rows = [
        _row(combination, row, results[number])
        for number, (combination, row) in enumerate(zip(work, sweep.run(work, means, finished), strict=True))
    ]
    return sorted(rows, key=_rank)


def _rank(row: ScheduleRow) -> tuple[bool, float, float]:
    """Return by what rows are ordered: those that held first."""
    if row.figures is None:
        return True, float("inf"), float("inf")
    return row.verdict not in HELD, row.figures.makespan_us, row.figures.slowdown_worst or 1.0


def _row(combination: Combination, row: SweepRow, result: RunResult | None) -> ScheduleRow:
    assert combination.trial is not None
    ended = result is not None and result.makespan_us is not None
    priorities = {job.name: job.priority for job in combination.trial.experiment.jobs}
    return ScheduleRow(
        policy=row.settings[POLICY],
        verdict=row.verdict,
        reasons=row.reasons,
        figures=_compared(result) if result is not None and ended else None,
        jobs=[_job(job, priorities[job.name]) for job in result.jobs] if result is not None else [],
        event_log_hash=row.event_log_hash,
        replay=row.replay,
    )


def _compared(result: RunResult) -> Comparison:
    slowdowns = [job.slowdown for job in result.jobs if job.slowdown is not None]
    counters = [priority for port in result.ports.values() for priority in port.priorities.values()]
    return Comparison(
        makespan_us=result.makespan_us or 0.0,
        slowdown_mean=sum(slowdowns) / len(slowdowns) if slowdowns else None,
        slowdown_worst=max(slowdowns, default=None),
        exposed_us=sum(job.exposed_us for job in result.jobs),
        pause_frames=sum(priority.pause_tx for priority in counters),
        paused_us=max((priority.paused_ns for priority in counters), default=0) / 1000,
        joules=result.energy.get("joules"),
        cost=result.energy.get("cost"),
        far_share=_far_share(result),
    )


def _far_share(result: RunResult) -> float | None:
    sent = result.bytes_by_reach
    total = 0 if sent is None else sum(sent.model_dump().values())
    return (sent.spine + sent.site) / total if sent is not None and total else None


def _job(job: JobResult, priority: int | None) -> ScheduledJob:
    return ScheduledJob(
        name=job.name,
        ranks=job.ranks,
        start_us=job.start_us or 0.0,
        priority=priority,
        end_us=job.end_us,
        exposed_us=job.exposed_us,
        slowdown=job.slowdown,
    )
