"""Jobs on one network: what they take side by side and shifted in time, against closed forms."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import lab_from, load_lab
from testbed.run.execution import Outcome
from testbed.run.job_times import makespan_us
from testbed.run.trial import Trial
from testbed.schema.source import Source, parse_yaml
from tests.virtual.harness import FULL_WIRE_BYTES, MTU, PS_PER_BYTE, Json, check_conservation, run_trial, star

# Two leaves of two hosts under one spine: what two hosts send shares one link of the rate of each.
SPINE = "clos:spines=1,leaves=2,hosts=2,delay=10ns"
SIZE = 8 << 20
BURST_US = SIZE // MTU * FULL_WIRE_BYTES * PS_PER_BYTE / 10**6
ITERATIONS = 4


def make(text: str, lab: str | Json = SPINE) -> Trial:
    loaded = load_lab(lab) if isinstance(lab, str) else lab_from(Source("lab", lab))
    return Trial(experiment_from(parse_yaml(text, "e.yaml", ExperimentError)), loaded)


def run(text: str, lab: str | Json = SPINE) -> Outcome:
    outcome = run_trial(make(text, lab))
    assert outcome.complete, outcome.reasons
    check_conservation(outcome.report)
    return outcome


def two_jobs(shift_us: float, compute_us: float = BURST_US) -> str:
    program = f"program: [{{compute: {round(compute_us * 1000)}ns}}, {{send: {SIZE}, from: 0, to: 1}}]"
    return (
        f"topology: {SPINE}\njobs:\n"
        f"  - {{name: one, ranks: [h1, h3], repeat: {ITERATIONS}, {program}}}\n"
        f"  - {{name: two, ranks: [h2, h4], repeat: {ITERATIONS}, start: {round(shift_us * 1000)}ns, {program}}}\n"
    )


def times(outcome: Outcome, job: int) -> list[float]:
    return [iteration["time_us"] for iteration in outcome.jobs[job]["iterations"]]


def test_bursts_that_meet_take_their_sum_and_bursts_that_interleave_their_maximum() -> None:
    """CASSINI (NSDI'24): shift one job by its burst, and the link carries the one's while the other computes.

    With a time B for a burst and C ≥ B to compute, an iteration takes C + 2B where bursts meet, and C + B where they do not;
    n iterations, n(C + 2B) and n(C + B) + B.
    """
    met, shifted = run(two_jobs(0)), run(two_jobs(BURST_US))
    for job in (0, 1):
        assert times(met, job) == pytest.approx([3 * BURST_US] * ITERATIONS, rel=0.01)
        assert times(shifted, job) == pytest.approx([2 * BURST_US] * ITERATIONS, rel=0.01)
        exposed = [sum(one["exposed_us"] for one in outcome.jobs[job]["iterations"]) for outcome in (met, shifted)]
        assert exposed == pytest.approx([2 * BURST_US * ITERATIONS, BURST_US * ITERATIONS], rel=0.01)
    assert makespan_us(met.jobs) == pytest.approx(3 * BURST_US * ITERATIONS, rel=0.01)
    assert makespan_us(shifted.jobs) == pytest.approx(2 * BURST_US * ITERATIONS + BURST_US, rel=0.01)


def test_half_a_shift_takes_away_half_of_what_meets() -> None:
    """Of a shift by B/2 the bursts still share the link for a time: both iterations lie between the two bounds."""
    half = run(two_jobs(BURST_US / 2))
    for job in (0, 1):
        assert all(2 * BURST_US * 0.99 < time < 3 * BURST_US * 1.01 for time in times(half, job))
    assert times(half, 0)[0] == pytest.approx(BURST_US + 1.5 * BURST_US, rel=0.01)


@pytest.mark.parametrize("share", [0.5, 2])
def test_communication_beside_computing_is_exposed_as_far_as_it_outlasts_it(share: float) -> None:
    """An all-reduce of two ranks sends S each way."""
    compute_us = share * BURST_US
    text = (
        f"topology: {SPINE}\njobs:\n  - name: train\n    ranks: [h1, h3]\n    program:\n"
        f"      - {{all_reduce: {SIZE}, id: grads}}\n      - {{compute: {round(compute_us * 1000)}ns}}\n      - {{wait: grads}}\n"
    )
    (row,) = run(text).jobs
    (step,) = row["steps"]
    # Acknowledgements of the other direction take their share of the line.
    assert step["time_us"] == pytest.approx(BURST_US, rel=0.02)
    assert step["busbw_gbytes_per_s"] == pytest.approx(SIZE / 1000 / step["time_us"])
    (iteration,) = row["iterations"]
    assert iteration["hidden_us"] == pytest.approx(min(step["time_us"], compute_us), rel=0.001)
    assert iteration["exposed_us"] == pytest.approx(max(0, step["time_us"] - compute_us), abs=1)
    assert iteration["time_us"] == pytest.approx(max(step["time_us"], compute_us), rel=0.001)


def test_process_groups_communicate_among_themselves_alone() -> None:
    text = (
        f"topology: {SPINE}\njobs:\n  - name: train\n    ranks: 'h[1-4]'\n    groups: {{tp: {{size: 2}}, dp: {{stride: 2}}}}\n"
        "    repeat: 2\n    program: [{all_gather: 64K, group: tp}, {all_reduce: 64K, group: dp}, {barrier: true}]\n"
    )
    outcome = run(text)
    sent = {(flow["src"], flow["dst"]): flow["bytes"] for flow in outcome.flows}
    # Half of a gather to the peer in tp, the whole of a reduction to that in dp, twice; a barrier's elements of 4 bytes.
    assert sent["h1", "h2"] == 2 * (32768 + 4) and sent["h1", "h3"] == 2 * (65536 + 4)
    assert ("h1", "h4") not in sent
    steps = outcome.jobs[0]["steps"]
    assert [(step["collective"], step["groups"]) for step in steps] == [
        ("all_gather", 2),
        ("all_reduce", 2),
        ("barrier", 1),
    ]


def test_a_program_of_computing_alone_is_no_stall_however_long_it_takes() -> None:
    text = f"topology: {SPINE}\njobs: [{{name: idle, repeat: 60, program: [{{compute: 50ms}}]}}]\n"
    (row,) = run_trial(make(text)).jobs
    assert row["end_us"] == pytest.approx(60 * 50_000) and row["exposed_us"] == 0


def test_jobs_take_the_same_course_again_and_on_more_cores() -> None:
    from testbed.run.perform import run_virtual

    text = two_jobs(100).replace(SPINE, "two-dc").replace("[h1, h3]", "[a1, b1]").replace("[h2, h4]", "[a2, b2]")
    trial = make(text, "two-dc")
    one, again, two = (run_virtual(trial, None, lambda progress: None, cores) for cores in (1, 1, 2))
    assert one.report["event_log_hash"] == again.report["event_log_hash"] == two.report["event_log_hash"]
    assert one.jobs == again.jobs == two.jobs


def test_slowdown_is_against_running_alone(
    call_testbed: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    (tmp_path / "jobs.yaml").write_text(two_jobs(0))
    done = call_testbed("run", "jobs.yaml", "--alone", "--format", "json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert [job["name"] for job in result["jobs"]] == ["one", "two"]
    for job in result["jobs"]:
        assert job["alone_us"] == pytest.approx(2 * BURST_US * ITERATIONS, rel=0.01)
        assert job["slowdown"] == pytest.approx(1.5, rel=0.01)
    assert result["makespan_us"] == max(job["end_us"] for job in result["jobs"])
    table = call_testbed("run", "jobs.yaml", "--alone").stdout
    assert "slowdown" in table and "1.50" in table.replace("1.49", "1.50")


def test_jobs_are_validated_and_swept_like_any_experiment(
    call_testbed: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    (tmp_path / "jobs.yaml").write_text(two_jobs(0))
    assert "a valid experiment" in call_testbed("validate", "jobs.yaml").stdout
    done = call_testbed("sweep", "jobs.yaml", "--over", "seed=1,2", "--format", "json")
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["rows"]:
        assert row["figures"]["time_us"] == pytest.approx(3 * BURST_US * ITERATIONS, rel=0.01)
        assert row["figures"]["algbw_gbytes_per_s"] == pytest.approx(2 * SIZE / 1000 / (3 * BURST_US), rel=0.01)


def test_a_pause_of_one_job_holds_up_no_job_of_another_priority() -> None:
    """Three hosts send to s1: each gets a third of its link. What one of them sends to s5 as well gets the rest of its own link
    on a priority of its own, and another third on theirs."""

    def ends(priority: int) -> tuple[float, dict[str, Any]]:
        heavy = f"{{name: heavy, ranks: [s1, s2, s3, s4], program: [{{incast: {SIZE}}}]}}"
        light = f"{{name: light, ranks: [s2, s5], priority: {priority}, program: [{{send: {SIZE}, from: 0, to: 1}}]}}"
        lab = star(dict.fromkeys(("s1", "s2", "s3", "s4", "s5"), "10ns"), switch={"buffer": "auto", "lossless": [3, 4]})
        outcome = run(f"topology: star\njobs: [{heavy}, {light}]\n", lab)
        return outcome.jobs[1]["end_us"], outcome.report["ports"]["s2:eth1"]["priorities"]

    (apart_us, ports), (together_us, _) = ends(4), ends(3)
    # Where a priority is shared, no host is paused for less time than its third; phases of pauses cost some more.
    assert 3 * BURST_US * 0.99 < together_us < 3 * BURST_US * 1.05
    assert 1.5 * BURST_US * 0.95 < apart_us < 1.5 * BURST_US * 1.01
    assert ports["3"]["paused_ns"] > 0 and ports["4"]["paused_ns"] == 0
    assert ports["4"]["data_frames_tx"] == SIZE // MTU and ports["3"]["data_frames_tx"] == SIZE // MTU


def test_a_priority_that_switches_do_not_keep_is_refused() -> None:
    trial = make("topology: pair\njobs:\n  - {name: a, priority: 6, program: [{barrier: true}]}\n", "pair")
    with pytest.raises(
        ExperimentError, match=r"e\.yaml:3: jobs\[0\]\.priority: priority 6 is not lossless on leaf; all switches"
    ):
        trial.plan  # noqa: B018  compiled when asked for


def test_what_is_not_of_jobs_is_refused(
    call_testbed: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    (tmp_path / "jobs.yaml").write_text(two_jobs(0))
    both = call_testbed("run", "jobs.yaml", "-b", "1M")
    assert both.returncode == 2 and "give workload or jobs, not both" in both.stderr
    none = call_testbed("run", "all_reduce", "-t", "pair", "-b", "4K", "--alone")
    assert none.returncode == 2 and "--alone: the experiment has no jobs" in none.stderr


def test_jobs_that_do_not_end_in_time_keep_what_they_ended() -> None:
    outcome = run_trial(make(two_jobs(0) + f"limit: {round(4 * BURST_US)}us\n"))
    assert not outcome.complete and "jobs: not finished after" in outcome.reasons[0]
    assert len(outcome.jobs[0]["iterations"]) == 1 and outcome.jobs[0]["end_us"] is None
