"""Jobs as files write them: what steps and groups are, and what is refused with its line."""

from typing import Any

import pytest

from testbed import traffic
from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment, experiment_from
from testbed.experiment.jobs import Groups, Step
from testbed.lab.topology import load_lab
from testbed.plan.compile import chosen_ranks
from testbed.plan.jobs import ops_of_jobs, plan_jobs
from testbed.schema.source import Source, parse_yaml

TWO = """
topology: clos
jobs:
  - name: train
    ranks: "h[1-4]"
    repeat: 3
    groups: {dp: {stride: 2}, tp: {size: 2}}
    program:
      - {compute: 2ms}
      - {all_reduce: 1MiB, group: dp, datatype: half, id: grads}
      - {all_gather: 64KiB, group: tp}
      - {compute: 1ms, after: grads}
      - {wait: grads}
  - {name: serve, ranks: [h5, h6], start: 1ms, program: [{send: 4KiB, from: 0, to: 1}, {barrier: true}]}
"""


def read(text: str) -> Experiment:
    return experiment_from(parse_yaml(text, "e.yaml", ExperimentError))


def test_jobs_are_read_and_planned() -> None:
    experiment, lab = read(TWO), load_lab("clos")
    train, serve = experiment.jobs
    assert train.program[1].collective == "all_reduce" and train.program[1].size_bytes == 1 << 20
    assert train.program[0].compute == 2 * 10**9 and serve.start == 10**9
    assert tuple(map(str, chosen_ranks(lab, experiment))) == ("h1", "h2", "h3", "h4", "h5", "h6")
    planned = plan_jobs(lab, experiment)
    planned.schedule.validate()
    assert planned.programs[0].ranks == (0, 1, 2, 3) and planned.programs[1].ranks == (4, 5)
    assert [part.ranks for part in planned.programs[0].steps[1].parts] == [(0, 2), (1, 3)]
    assert [part.ranks for part in planned.programs[0].steps[2].parts] == [(0, 1), (2, 3)]
    call = planned.calls[0][1]
    assert call is not None and call[1][0].dtype == "half" and call[1][0].size_bytes == 1 << 20
    assert sum(len(ranked.ops) for ranked in planned.schedule.ranks) <= ops_of_jobs(lab, experiment) + 40


def test_one_job_alone_keeps_its_ranks_and_the_others_do_nothing() -> None:
    experiment, lab = read(TWO), load_lab("clos")
    alone, both = plan_jobs(lab, experiment, only="serve"), plan_jobs(lab, experiment)
    assert alone.ranks == both.ranks and alone.schedule.ranks[4:] == both.schedule.ranks[4:]
    assert all(ranked.ops == () for ranked in alone.schedule.ranks[:4])


def test_what_was_said_can_be_written_and_read_again() -> None:
    experiment = read(TWO)
    assert experiment_from(Source("again", experiment.data())) == experiment


def test_every_collective_is_a_step() -> None:
    for name, definition in traffic.COLLECTIVES.items():
        step = Step.model_validate({name: "1MiB" if definition.has_size else True})
        assert (step.collective, step.definition) == (name, definition)


def test_groups_are_consecutive_or_strided_or_listed() -> None:
    assert Groups(size=2).of(4) == [(0, 1), (2, 3)]
    assert Groups(stride=2).of(6) == [(0, 2, 4), (1, 3, 5)]
    assert Groups(members=((3, 0), (1,))).of(4) == [(3, 0), (1,)]
    with pytest.raises(ValueError, match="5 ranks do not make equal groups by 2"):
        Groups(size=2).of(5)
    with pytest.raises(ValueError, match="rank 4 is none of 4"):
        Groups(members=((0, 4),)).of(4)


def job(program: str, **more: Any) -> str:
    said = "".join(f", {key}: {value}" for key, value in more.items())
    return f"topology: pair\njobs:\n  - {{name: a{said}, program: {program}}}\n"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("[{}]", "exactly|one of compute, wait, send and a collective"),
        ("[{compute: 1ms, all_reduce: 1K}]", "one of compute"),
        ("[{compute: 1ms, id: x}, {wait: y}]", 'no earlier step has the id "y"'),
        ("[{wait: x}, {compute: 1ms, id: x}]", 'no earlier step has the id "x"'),
        ("[{compute: 1ms, id: x}, {compute: 1ms, id: x}]", 'the id "x" is given twice'),
        ("[{all_reduce: 1K, group: dp}]", 'no group is called "dp"'),
        ("[{send: 1K}]", "`from` and `to`"),
        ("[{send: 1K, from: 0, to: [1, 2]}]", "1 ranks send and 2 receive"),
        ("[{send: 1K, from: 1, to: 1}]", "does not send to itself"),
        ("[{compute: 1ms, from: 0, to: 1}]", "`from` and `to`"),
        ("[{all_reduce: 1K, algorithm: tree}]", 'all_reduce has no algorithm "tree"'),
        ("[{all_reduce: 1K, datatype: f32}]", 'no datatype is called "f32"'),
        ("[{compute: 1ms, redop: sum}]", "redop is of collectives"),
        ("[{all_reduce: 1K, jitter: 1}]", "unknown key"),
        ("[]", "must not be empty"),
    ],
)
def test_a_program_that_makes_no_sense_is_refused_with_its_line(program: str, message: str) -> None:
    with pytest.raises(ExperimentError, match=rf"e\.yaml:3: jobs\[0\].*({message})"):
        read(job(program))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (job("[{send: 1K, from: 0, to: 2}]"), r"e\.yaml:3: jobs\[0\]\.program\[0\]: rank 2 is none of 2"),
        (job("[{all_reduce: 1K, root: 2}]"), r"e\.yaml:3: jobs\[0\]\.program\[0\]: root 2 is not one of 2"),
        (job("[{all_reduce: 1K, algorithm: hierarchical, sites: 4}]"), "do not make 4 equal sites"),
        (job("[{compute: 1ms}]", ranks="h9"), r'e\.yaml:3: jobs\[0\]\.ranks: lab pair has no host "h9"'),
    ],
)
def test_what_ranks_cannot_do_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        plan_jobs(load_lab("pair"), read(text))


def test_slices_that_never_end_are_counted_and_not_made() -> None:
    """A ring of two sends half of 64 GiB twice each way: of 4 KiB, 2^23 messages at a time, each sent and received by both."""
    text = job("[{all_reduce: 64GiB, slice: 4KiB}]", repeat=3)
    assert ops_of_jobs(load_lab("pair"), read(text)) == pytest.approx(3 * 2**23 * 2 * 2 * 2, rel=1e-6)


def test_a_workload_and_jobs_exclude_each_other_and_names_differ() -> None:
    with pytest.raises(ExperimentError, match="workload or jobs, not both"):
        read(job("[{compute: 1ms}]") + "workload: {collective: all_reduce}\n")
    twice = "topology: pair\njobs: [{name: a, program: [{compute: 1ms}]}, {name: a, program: [{compute: 1ms}]}]\n"
    with pytest.raises(ExperimentError, match='two jobs are called "a"'):
        read(twice)
