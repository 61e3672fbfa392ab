"""What jobs do to links in an iteration, as estimated, beside what they take when they run alone; and priorities."""

from __future__ import annotations

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.ranks import select
from testbed.lab.topology import lab_from, load_lab
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from testbed.scheduling import Cluster, Request
from testbed.scheduling.rhythm import Rhythm, rhythms
from testbed.schema.source import Source, parse_yaml
from tests.virtual.harness import star


def estimates(trial: Trial) -> list[Rhythm]:
    lab, jobs = trial.lab, trial.experiment.jobs
    hosts = {host.name: host for host in lab.hosts}
    chosen = [select(job.listed or list(hosts), hosts)[0] for job in jobs]
    requests = [Request(job, len(ranks), tuple(ranks)) for job, ranks in zip(jobs, chosen, strict=True)]
    return rhythms(Cluster(lab, trial.experiment, ()), requests)


def made(program: str, lab: str, more: str = "") -> Trial:
    text = f"topology: x\njobs: [{{name: a, {more}program: [{program}]}}]\n"
    return Trial(experiment_from(parse_yaml(text, "e.yaml", ExperimentError)), load_lab(lab))


@pytest.mark.parametrize(
    ("program", "lab"),
    [
        ("{compute: 100us}, {send: 1MiB, from: 0, to: 3}", "clos:spines=1,leaves=2,hosts=2"),
        ("{all_reduce: 1MiB}, {compute: 20us}", "clos:spines=1,leaves=2,hosts=2"),
        (
            "{all_reduce: 1MiB, id: g}, {compute: 20us}, {wait: g}, {barrier: true}",
            "rail:servers=2,accelerators=2,spines=1",
        ),
        ("{all_to_all: 1MiB}", "rail:servers=1,accelerators=4,spines=1,domain=1"),
        ("{incast: 256KiB}", "clos:spines=1,leaves=2,hosts=3"),
        ("{reduce_scatter: 1MiB}, {all_gather: 64KiB}", "two-dc:hosts=2,length=1km"),
    ],
)
def test_an_iteration_alone_takes_its_estimate(program: str, lab: str) -> None:
    trial = made(program, lab)
    (rhythm,) = estimates(trial)
    outcome = run_virtual(trial, None, lambda progress: None)
    assert outcome.complete
    assert rhythm.period_ps == pytest.approx(outcome.jobs[0]["iterations"][0]["time_us"] * 10**6, rel=0.05)


def test_shares_are_of_each_wire_on_the_way() -> None:
    (rhythm,) = estimates(made("{compute: 10us}, {send: 16MiB, from: 0, to: 3}", "clos:spines=2,leaves=2,hosts=2"))
    (burst,) = rhythm.bursts
    assert burst.start_ps == 10_000_000
    # From h1 over its leaf, half by either spine, and the other leaf to h4.
    assert {wire: round(share, 1) for wire, share in burst.shares.items()} == {
        ("h1", 0): 1.0,
        ("leaf1", 2): 0.5,
        ("leaf1", 3): 0.5,
        ("spine1", 1): 0.5,
        ("spine2", 1): 0.5,
        ("leaf2", 1): 1.0,
    }


def test_jobs_that_communicate_least_get_the_highest_of_the_priorities_that_all_switches_keep() -> None:
    lab = lab_from(
        Source(
            "lab", star(dict.fromkeys(("a", "b", "c", "d"), "10ns"), switch={"buffer": "auto", "lossless": [2, 3, 5]})
        )
    )
    sizes = {"large": "4MiB", "small": "64KiB", "middle": "1MiB"}
    jobs = "".join(f"  - {{name: {name}, program: [{{all_reduce: {size}}}]}}\n" for name, size in sizes.items())
    own = "  - {name: own, priority: 2, program: [{barrier: true}]}\n"
    text = f"topology: x\nplacement: priorities\njobs:\n{jobs}{own}"
    trial = Trial(experiment_from(parse_yaml(text, "e.yaml", ExperimentError)), lab)
    assert {job.name: job.priority for job in trial.experiment.jobs} == {"large": 2, "small": 5, "middle": 3, "own": 2}


def test_where_there_is_one_priority_jobs_keep_it() -> None:
    trial = made("{barrier: true}", "clos:spines=1,leaves=2,hosts=2", "ranks: 2, place: priorities, ")
    assert trial.experiment.jobs[0].priority is None and trial.experiment.jobs[0].listed == ("h1", "h2")


@pytest.mark.parametrize("policy", ["interleaved", "priorities"])
def test_a_step_that_ranks_cannot_do_is_refused_with_its_line(policy: str) -> None:
    lab = load_lab("clos:spines=1,leaves=2,hosts=2")
    text = f"topology: x\nplacement: {policy}\njobs:\n  - {{name: a, ranks: 2, program: [{{barrier: true}}]}}\n"
    wrong = "  - {name: b, ranks: 2, program: [{barrier: true}, {send: 1K, from: 0, to: 2}]}\n"
    with pytest.raises(ExperimentError, match=r"e\.yaml:5: jobs\[1\]\.program\[1\]: rank 2 is none of 2"):
        Trial(experiment_from(parse_yaml(text + wrong, "e.yaml", ExperimentError)), lab)


def test_too_many_slices_are_estimated_as_whole_messages() -> None:
    (rhythm,) = estimates(made("{all_reduce: 64GiB, slice: 4KiB}", "clos:spines=1,leaves=2,hosts=2"))
    # Twice three quarters of 64 GiB at 100 Gb/s, headers aside.
    assert rhythm.period_ps == pytest.approx(1.5 * 2**36 * 8 * 10, rel=0.03)
