"""Jobs that ask for ranks become jobs that list them; policies of others, and what they may not return."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment, experiment_from
from testbed.lab.ranks import Rank
from testbed.lab.topology import load_lab
from testbed.run.trial import Trial, from_spec
from testbed.scheduling import Assignment, Cluster, Request, registry
from testbed.scheduling.schedule import scheduled
from testbed.schema.source import Source, parse_yaml

LAB = "rail:servers=2,accelerators=3,spines=1"


def read(text: str) -> Experiment:
    return experiment_from(parse_yaml(text, "e.yaml", ExperimentError))


def jobs(*settings: str, placement: str = "") -> Experiment:
    lines = "".join(
        f"  - {{name: j{number}, program: [{{barrier: true}}], {text}}}\n" for number, text in enumerate(settings)
    )
    return read(f"topology: {LAB}\n{f'placement: {placement}' if placement else '#'}\njobs:\n{lines}")


def listed(experiment: Experiment) -> list[tuple[str, ...]]:
    return [job.listed for job in scheduled(load_lab(LAB), experiment).jobs]


def test_jobs_that_list_their_ranks_are_left_alone() -> None:
    experiment = jobs("ranks: [s1]", "start: 1ms")
    assert scheduled(load_lab(LAB), experiment) is experiment


def test_jobs_are_packed_unless_told_otherwise_on_what_others_do_not_list() -> None:
    assert listed(jobs("ranks: 2", "ranks: [s1/0]")) == [("s1/1", "s1/2"), ("s1/0",)]


def test_a_job_may_name_a_policy_of_its_own() -> None:
    placements = listed(jobs("ranks: 2", "ranks: 2, place: by-rail", placement="round-robin"))
    assert placements == [("s1/0", "s2/0"), ("s1/1", "s2/1")]


def test_a_trial_places_its_jobs_and_sends_them_placed() -> None:
    trial = Trial(jobs("ranks: 4", placement="spread"), load_lab(LAB))
    assert trial.experiment.jobs[0].listed == ("s1/0", "s1/1", "s2/0", "s2/1")
    # An agent need not have the policy.
    assert from_spec(trial.spec()).experiment == trial.experiment
    assert experiment_from(Source("again", trial.experiment.data())) == trial.experiment


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["ranks: 4", "ranks: 3"], r"e\.yaml:5: jobs\[1\]\.ranks: the job needs 3 ranks, and lab rail has 2 left"),
        (["ranks: 7"], r"e\.yaml:4: jobs\[0\]\.ranks: the job needs 7 ranks, and lab rail has 6 left"),
        (["ranks: 0"], r"e\.yaml:4: jobs\[0\]\.ranks: 0 is not a number of ranks from 1 to"),
        (["ranks: true"], "True is not a number of ranks"),
        (["ranks: [s1/x]"], r'e\.yaml:4: jobs\[0\]\.ranks: "s1/x" is not a rank'),
        (["ranks: 2, place: spred"], r'jobs\[0\]\.place: no policy is called "spred"; did you mean "spread"'),
        (["ranks: 2, place: spread+"], r'jobs\[0\]\.place: no policy is called ""; known: by-domain'),
        (["ranks: [s9], place: packed"], r'jobs\[0\]\.ranks: lab rail has no host "s9"'),
    ],
)
def test_what_cannot_be_placed_is_refused_with_its_line(settings: list[str], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        listed(jobs(*settings))


def test_an_unknown_placement_is_refused_with_its_line() -> None:
    with pytest.raises(
        ExperimentError, match=r'e\.yaml:2: placement: no policy is called "packet"; did you mean "packed"'
    ):
        listed(jobs("ranks: 2", placement="packet"))
    with pytest.raises(ExperimentError, match="placement is of jobs, and there are none"):
        read("topology: pair\nplacement: packed\n")


PolicyResult = Callable[[Cluster, Sequence[Request]], Any]


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        (lambda cluster, jobs: [], "0 assignments for 3 jobs"),
        (lambda cluster, jobs: [["s1/0"] for _ in jobs], "job j0: list is not an Assignment"),
        (lambda cluster, jobs: [job.on(["s1/0"]) for job in jobs], "job j0: 1 ranks, and it needs 2"),
        (lambda cluster, jobs: [job.on(["s1/0", "s1/0"]) for job in jobs], "job j0: s1/0 is listed twice"),
        (lambda cluster, jobs: [job.on(["s1/0", "s1/1"]) for job in jobs], "job j1: s1/0 is given to job j0 too"),
        (
            lambda cluster, jobs: [job.on(["s1/0", "s2/2"]) for job in jobs],
            "job j0: s2/2 belongs to another job already",
        ),
        (lambda cluster, jobs: [job.on(["s1/0", "s9/0"]) for job in jobs], 'job j0: lab rail has no host "s9"'),
        (lambda cluster, jobs: [job.on(["s1/0", "s1"]) for job in jobs], "job j0: s1 is 3 ranks"),
        (lambda cluster, jobs: [job.on([Rank("s1", 0), Rank("s1", 3)]) for job in jobs], "has no rank s1/3"),
        (lambda cluster, jobs: [job.on([1, 2]) for job in jobs], "job j0: 1 is not a rank"),
        (lambda cluster, jobs: [Assignment(None) for _ in jobs], "job j0: 'NoneType' object is not iterable"),  # type: ignore[arg-type]
        (
            lambda cluster, jobs: [job.on(cluster.free[:2], shift_ps=-1) for job in jobs],
            "job j0: -1 is not a shift in whole picoseconds",
        ),
        (
            lambda cluster, jobs: [job.on(cluster.free[:2], priority=8) for job in jobs],
            "job j0: 8 is not a priority from 0 to 7",
        ),
        (lambda cluster, jobs: 1 // 0, "failed: ZeroDivisionError: integer division or modulo by zero"),
        (lambda cluster, jobs: None, "failed: TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_a_policy_that_returns_an_invalid_assignment_is_named(
    decide: PolicyResult, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "BUILT_IN", {**registry.BUILT_IN, "mine": decide})
    experiment = jobs("ranks: 2", "ranks: 2", "ranks: [s2/2]", placement="mine")
    with pytest.raises(ExperimentError) as error:
        listed(experiment)
    (fault,) = error.value.faults
    assert (fault.file, fault.line, fault.key) == ("e.yaml", 2, "placement")
    assert fault.message.startswith('policy "mine"') and message in fault.message


def test_ranks_that_a_job_has_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def move(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
        return [Assignment(cluster.free[:1]) for _ in jobs]

    monkeypatch.setattr(registry, "BUILT_IN", {**registry.BUILT_IN, "move": move})
    with pytest.raises(ExperimentError, match=r'policy "move": job j0 has its ranks already'):
        listed(jobs("ranks: [s1/0]", placement="move"))


def test_policies_joined_go_on_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def later(cluster: Cluster, jobs: Sequence[Request]) -> list[Assignment]:
        return [job.on(shift_ps=1000 * number, priority=4) for number, job in enumerate(jobs)]

    monkeypatch.setattr(registry, "BUILT_IN", {**registry.BUILT_IN, "later": later})
    placed = scheduled(
        load_lab(LAB), jobs("ranks: 2", "ranks: 2, start: 5ns", placement="by-rail + later + later")
    ).jobs
    assert [job.listed for job in placed] == [("s1/0", "s2/0"), ("s1/1", "s2/1")]
    assert [(job.start, job.priority) for job in placed] == [(0, 4), (5000 + 2 * 1000, 4)]


MINE = '''\
from testbed.scheduling import Assignment, Cluster, Request


def backwards(cluster, jobs):
    """Fill the lab from its last host on."""
    free = list(reversed(cluster.free))
    return [job.on([free.pop(0) for _ in range(job.missing)]) for job in jobs]
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of packages, on the path, that has a policy and two that cannot be loaded."""
    (tmp_path / "my_policies.py").write_text(MINE)
    described = tmp_path / "my_policies-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: my-policies\nVersion: 1.0\n")
    lines = ["backwards = my_policies:backwards", "gone = my_policies:gone", "packed = my_policies:backwards"]
    (described / "entry_points.txt").write_text("\n".join(["[testbed.schedulers]", *lines, ""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_policies", raising=False)
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_a_package_brings_a_policy_by_its_entry_point() -> None:
    assert "backwards" in registry.names() and registry.names().count("packed") == 1
    assert registry.about("backwards") == "Fill the lab from its last host on."
    assert listed(jobs("ranks: 2", "ranks: 1", placement="backwards")) == [("s2/2", "s2/1"), ("s2/0",)]
    assert listed(jobs("ranks: 2", placement="packed")) == [("s1/0", "s1/1")], "the testbed's names are its own"
    assert registry.about("gone").startswith('policy "gone" cannot be loaded: AttributeError')
    with pytest.raises(ExperimentError, match=r'placement: policy "gone" cannot be loaded: AttributeError'):
        listed(jobs("ranks: 2", placement="gone"))
