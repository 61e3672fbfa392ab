"""Jobs that policies schedule, run under the virtual clock, against closed forms; and `testbed schedule`."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import load_lab
from testbed.run.execution import Outcome
from testbed.run.job_times import makespan_us
from testbed.run.trial import Trial
from testbed.schema.source import parse_yaml
from tests.conftest import ROOT
from tests.virtual.harness import FULL_WIRE_BYTES, MTU, PS_PER_BYTE, check_conservation, make_trial, run_trial

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

# Two leaves under one spine: what the hosts of a leaf send to the other shares one link of the rate of each.
SPINE = "clos:spines=1,leaves=2,hosts={hosts},delay=10ns"
SIZE = 2 << 20
BURST_US = SIZE // MTU * FULL_WIRE_BYTES * PS_PER_BYTE / 10**6
ITERATIONS = 4


def bursts(count: int, gap: float, policy: str) -> str:
    """Return an experiment of jobs that compute for `gap` bursts and then send one over the spine."""
    program = f"program: [{{compute: {round(gap * BURST_US * 1000)}ns}}, {{send: {SIZE}, from: 0, to: 1}}]"
    jobs = (
        f"  - {{name: j{job}, ranks: [h{job}, h{job + count}], repeat: {ITERATIONS}, {program}}}\n"
        for job in range(1, count + 1)
    )
    return f"topology: {SPINE.format(hosts=count)}\nplacement: {policy}\njobs:\n{''.join(jobs)}"


def made(text: str) -> Trial:
    experiment = experiment_from(parse_yaml(text, "e.yaml", ExperimentError))
    return Trial(experiment, load_lab(experiment.topology))


def run(trial: Trial) -> Outcome:
    outcome = run_trial(trial)
    assert outcome.complete, outcome.reasons
    check_conservation(outcome.report)
    return outcome


def test_interleaving_finds_the_shift_that_takes_bursts_from_their_sum_to_their_maximum() -> None:
    """CASSINI (NSDI'24): of two circles of 2B, half of each an arc, the rotation by B lets no arc meet another.

    Where bursts meet, n iterations take n(B + 2B); where they do not, n(B + B), and the shifted job ends B later.
    """
    met = run(made(bursts(2, 1, "packed")))
    assert makespan_us(met.jobs) == pytest.approx(3 * BURST_US * ITERATIONS, rel=0.01)
    trial = made(bursts(2, 1, "interleaved"))
    first, second = (job.start / 10**6 for job in trial.experiment.jobs)
    assert (first, second) == (0, pytest.approx(BURST_US, rel=0.01))
    apart = run(trial)
    assert makespan_us(apart.jobs) == pytest.approx(2 * BURST_US * ITERATIONS + BURST_US, rel=0.01)
    for job in apart.jobs:
        times = [iteration["time_us"] for iteration in job["iterations"]]
        assert times == pytest.approx([2 * BURST_US] * ITERATIONS, rel=0.01)


def test_three_jobs_fill_a_circle_of_three_bursts() -> None:
    """Three arcs of B on a circle of 3B fit at 0, B and 2B; n iterations of the last end at 2B + 3nB. Met, they take 5nB."""
    trial = made(bursts(3, 2, "interleaved"))
    starts = sorted(job.start / 10**6 for job in trial.experiment.jobs)
    assert starts == pytest.approx([0, BURST_US, 2 * BURST_US], rel=0.01)
    assert makespan_us(run(trial).jobs) == pytest.approx((2 + 3 * ITERATIONS) * BURST_US, rel=0.01)
    assert makespan_us(run(made(bursts(3, 2, "packed"))).jobs) == pytest.approx(5 * BURST_US * ITERATIONS, rel=0.01)


def test_jobs_that_share_no_link_start_at_once() -> None:
    apart = bursts(2, 1, "interleaved").replace("[h1, h3]", "[h1, h2]").replace("[h2, h4]", "[h3, h4]")
    assert [job.start for job in made(apart).experiment.jobs] == [0, 0]


# Eight servers of eight accelerators, each server a scale-up domain, a leaf a rail.
RAILS = "rail:servers=8,accelerators=8,spines=1"
POD = f"{RAILS},domain=1,rate=50G,up-rate=14.4T"
SERVERS = ACCELERATORS = 8
RANKS = SERVERS * ACCELERATORS
POD_BYTES = 6 << 20


def wire_ps(length: int, rate_gbps: float) -> float:
    """Return how long so many bytes in full packets are on a line."""
    return length // MTU * FULL_WIRE_BYTES * 8 * 1000 / rate_gbps


def hop_ps(length: int, rate_gbps: float, metres: float) -> float:
    """Return how long a message takes over a switch that stores and forwards packets, between two links of one kind."""
    return wire_ps(length, rate_gbps) + lag_ps(rate_gbps, metres)


def lag_ps(rate_gbps: float, metres: float) -> float:
    """Return how long after its last bit has left a message is there: the switch forwards the last packet, two links long."""
    return wire_ps(MTU, rate_gbps) + 2 * metres * 1.4682 / 299_792_458 * 10**12


def pod(*settings: str, lab: str = POD, size: int = POD_BYTES) -> float:
    fixed = (f"workload.size={size}", "workload.payload=false", "workload.in-place=false")
    outcome = run_trial(make_trial(lab, "all_reduce", *fixed, *settings))
    assert outcome.complete
    return float(outcome.rows[0]["time_us"]) * 10**6


def test_a_ring_a_rail_takes_the_time_of_its_hops_between_servers() -> None:
    """S/8 goes around each of 8 rings of 64 ranks in 2·63 steps of S/8/64; the hops over the rail, one in eight, set the pace.

    What their lines sent last has still to be forwarded.
    """
    chunk = POD_BYTES // ACCELERATORS // RANKS
    ideal = 2 * (RANKS - 1) * wire_ps(chunk, 50) + hop_ps(MTU, 50, 20) - wire_ps(MTU, 50)
    assert pod("workload.channels=8") == pytest.approx(ideal, rel=0.01)


def first_around_ps(part_ps: float, lag_ps: float) -> float:
    """Return how long the first of many parts takes around a ring of accelerators, each part a step behind the one before it.

    Before its n-th step n - 1 messages of other parts leave: they have begun meanwhile, and messages to a peer leave in one
    order. Its last step ends there, and as much later as a message is on its way; where parts are short its steps wait for
    that as well. Of the last part of a gather the same is true backwards.
    """
    waits = sum(max(count * part_ps, part_ps + lag_ps) for count in range(1, ACCELERATORS - 1))
    return waits + part_ps + lag_ps


@pytest.mark.parametrize(
    ("lab", "size", "gbps", "within"),
    [
        # By scale-up links so fast that what happens within servers is little.
        (POD, POD_BYTES, 50, lambda part: (wire_ps(part, 14_400), lag_ps(14_400, 1))),
        # By scale-up links nine times as fast as rails.
        (
            f"{RAILS},domain=1,rate=400G,up-rate=3.6T",
            8 << 20,
            400,
            lambda part: (wire_ps(part, 3_600), lag_ps(3_600, 1)),
        ),
        # By memory at 3.6 Tb/s, a copy ended a microsecond later.
        (f"{RAILS},rate=400G", 8 << 20, 400, lambda part: (part * 8 / 3.6, 10**6)),
    ],
)
def test_hierarchical_over_domains_takes_its_steps_between_servers_and_one_part_within(
    lab: str, size: int, gbps: int, within: Callable[[int], tuple[float, float]]
) -> None:
    """Between servers 2·7 steps of S/64 on each rail, one after the other; within a server the first part before them, and the
    last one behind them, go around 8 accelerators. All other parts travel there meanwhile.
    """
    part = size // RANKS
    between = 2 * (SERVERS - 1) * hop_ps(part, gbps, 20)
    took = pod("workload.algorithm=hierarchical", f"workload.sites={SERVERS}", lab=lab, size=size)
    assert took == pytest.approx(2 * first_around_ps(*within(part)) + between, rel=0.01)
    # Of 2S/8 a ring sends 63/64 over each rail, this 7/8: where servers cost nothing that is what it takes less.
    if lab == POD:
        assert took < 2 * (RANKS - 1) * wire_ps(size // ACCELERATORS // RANKS, gbps)


def test_a_shuffled_placement_is_worse_and_the_report_says_why(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(
        "topology: rail:servers=4,accelerators=4,spines=1,domain=1\n"
        "jobs:\n  - {name: train, ranks: 16, groups: {tp: {size: 4}, dp: {stride: 4}},\n"
        "     program: [{all_gather: 1MiB, group: tp}, {all_reduce: 1MiB, group: dp}]}\n"
    )
    results: dict[str, Any] = {}
    for policy in ("packed", "random"):
        done = call_testbed("run", "e.yaml", "--set", f"placement={policy}", "--format", "json")
        assert done.returncode == 0, done.stderr
        results[policy] = json.loads(done.stdout)
    shares = {
        policy: {
            reach: sent / sum(result["bytes_by_reach"].values()) for reach, sent in result["bytes_by_reach"].items()
        }
        for policy, result in results.items()
    }
    # Packed, groups of four are servers, and those with a stride of four are rails: of 3/4 S and 2·3/4 S the spine has none.
    assert shares["packed"] == pytest.approx({"host": 0, "domain": 1 / 3, "leaf": 2 / 3, "spine": 0, "site": 0})
    assert shares["random"]["spine"] > 1 / 2
    assert results["random"]["makespan_us"] > 1.5 * results["packed"]["makespan_us"]
    text = call_testbed("run", "e.yaml").stdout
    assert "# Bytes sent           : 33.3% within domains, 66.7% over one switch" in text


def test_schedule_compares_policies_best_first(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(bursts(2, 1, "packed"))
    arguments = ("schedule", "jobs.yaml", "--policy", "packed,interleaved", "--out", "out")
    done = call_testbed(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out" / "schedule.json").read_text())
    best, other = document["rows"]
    assert (best["policy"], other["policy"]) == ("interleaved", "packed")
    assert best["figures"]["makespan_us"] == pytest.approx((2 * ITERATIONS + 1) * BURST_US, rel=0.01)
    assert best["figures"]["slowdown_worst"] == pytest.approx(1, rel=0.01)
    slowdowns = [other["figures"]["slowdown_mean"], other["figures"]["slowdown_worst"]]
    assert slowdowns == pytest.approx([1.5, 1.5], rel=0.01)
    exposed = [row["figures"]["exposed_us"] for row in document["rows"]]
    assert exposed == pytest.approx([2 * ITERATIONS * BURST_US, 4 * ITERATIONS * BURST_US], rel=0.01)
    assert [job["ranks"] for job in best["jobs"]] == [["h1", "h3"], ["h2", "h4"]]
    assert best["jobs"][1]["start_us"] == pytest.approx(BURST_US, rel=0.01)
    # What a row says to run again comes out the same, and its run.json is beside it.
    program, *replay = shlex.split(best["replay"])
    again = json.loads(call_testbed(*replay, "--format", "json").stdout)
    assert program == "testbed" and again["event_log_hash"] == best["event_log_hash"]
    assert (tmp_path / "out" / "row-0" / "run.json").is_file()
    assert call_testbed(*arguments).returncode == 2, "what is there stays"
    table = call_testbed(*arguments, "--force", "-j", "2").stdout
    assert table.index("interleaved") < table.index("packed")
    assert json.loads((tmp_path / "out" / "schedule.json").read_text())["rows"] == document["rows"]


def test_schedule_counts_joules_and_cost(call_testbed: Cli, tmp_path: Path) -> None:
    lab = "rail:servers=2,accelerators=2,spines=1,profile=400g-dr4"
    (tmp_path / "e.yaml").write_text(
        f"topology: {lab}\nprices: {{capex-per-end: 500, lifetime-years: 5, energy-per-kwh: 0.2}}\n"
        "jobs: [{name: a, ranks: 4, program: [{all_reduce: 1MiB}]}]\n"
    )
    done = call_testbed("schedule", "e.yaml", "--policy", "by-rail,packed", "--format", "json", "--seed", "3")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    for row in rows:
        assert row["figures"]["joules"] > 0 and row["figures"]["cost"] > 0
    energy = [row["figures"]["joules"] / row["figures"]["makespan_us"] for row in rows]
    assert energy[0] == pytest.approx(energy[1], rel=0.01), "links draw the same power however long it takes"


def test_the_policy_of_the_guide_runs_once_a_package_brings_it(
    call_testbed: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "guides" / "scheduling.md").read_text()
    guide = dict(re.findall(r"^```(python|toml)[^\n]*\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    (tmp_path / "my_policies.py").write_text(guide["python"])
    described = tmp_path / "my_policies-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: my-policies\nVersion: 1.0\n")
    (group, entries) = next(iter(tomllib.loads(guide["toml"])["project"]["entry-points"].items()))
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    (described / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_policies", raising=False)
    jobs = "".join(f"  - {{name: j{size}, ranks: {size}, program: [{{all_reduce: 4KiB}}]}}\n" for size in (1, 3, 2))
    (tmp_path / "jobs.yaml").write_text(f"topology: clos:spines=1,leaves=2,hosts=4\njobs:\n{jobs}")
    done = call_testbed("schedule", "jobs.yaml", "--policy", "largest-first,packed", "--format", "json", "-j", "2")
    assert done.returncode == 0, done.stderr
    (row,) = (row for row in json.loads(done.stdout)["rows"] if row["policy"] == "largest-first")
    placed = {job["name"]: (job["ranks"], job["start_us"]) for job in row["jobs"]}
    assert placed == {"j1": (["h6"], 0), "j3": (["h1", "h2", "h3"], 10), "j2": (["h4", "h5"], 20)}
    assert "Place the largest jobs first" in call_testbed("list", "policies", "largest-first").stdout
    assert len(guide["python"].splitlines()) <= 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jobs.yaml", "--policy", "interleafed"], 'no policy is called "interleafed"; did you mean "interleaved"?'),
        (["jobs.yaml", "--policy", "packed,packed"], "packed is listed twice"),
        (["jobs.yaml", "--policy", "packed,"], 'no policy is called ""'),
        (["incast", "-t", "incast"], "the experiment has no jobs to schedule"),
        (["many.yaml", "--policy", "spread"], "many.yaml:2: jobs[0].ranks: the job needs 99 ranks, and lab pair has 2"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(
    call_testbed: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "jobs.yaml").write_text(bursts(2, 1, "packed"))
    (tmp_path / "many.yaml").write_text("topology: pair\njobs: [{name: a, ranks: 99, program: [{barrier: true}]}]\n")
    done = call_testbed("schedule", *arguments)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not list(tmp_path.glob("results/*"))


def test_a_placement_is_written_as_slurm_s_and_read_again(call_testbed: Cli, tmp_path: Path) -> None:
    jobs = "".join(f"  - {{name: {name}, ranks: 4, program: [{{all_reduce: 64KiB}}]}}\n" for name in ("train", "serve"))
    text = f"topology: rail:servers=4,accelerators=2,spines=1\njobs:\n{jobs}"
    (tmp_path / "jobs.yaml").write_text(text)
    arguments = ("schedule", "jobs.yaml", "--policy", "by-rail", "--write-placement", "best.conf", "--format", "json")
    done = call_testbed(*arguments)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "best.conf").read_text()
    assert written == "BlockName=train Nodes=s[1-4] # ranks s[1-4]/0\nBlockName=serve Nodes=s[1-4] # ranks s[1-4]/1\n"
    (row,) = json.loads(done.stdout)["rows"]
    (tmp_path / "placed.yaml").write_text(f"placement: best.conf\n{text}")
    (tmp_path / "each.yaml").write_text(text.replace("ranks: 4", "ranks: 4, place: best.conf"))
    for command in (["placed.yaml"], ["each.yaml"], ["jobs.yaml", "--set", "placement=best.conf"]):
        again = json.loads(call_testbed("run", *command, "--format", "json").stdout)
        assert again["event_log_hash"] == row["event_log_hash"]
        assert [job["ranks"] for job in again["jobs"]] == [job["ranks"] for job in row["jobs"]]
    assert call_testbed(*arguments).returncode == 2, "what is there stays"
    rows = json.loads(call_testbed("schedule", "jobs.yaml", "--policy", "best.conf,packed", "--format", "json").stdout)[
        "rows"
    ]
    assert {each["policy"]: each["event_log_hash"] for each in rows}["best.conf"] == row["event_log_hash"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("BlockName=train Nodes=s[1-\n", "best.conf:1: "),
        ("BlockName=other Nodes=h1\n", 'placement: policy "placement file": it has no job "train"; known: other'),
        ("BlockName=train Nodes=h[1-9]\n", 'placement: policy "placement file": job train: lab clos has no host "h9"'),
        ("BlockName=train Nodes=h1\n", 'placement: policy "placement file": job train: 1 ranks, and it needs 2'),
        (None, "e.yaml:1: placement: best.conf is not a file in the directory of the experiment file"),
    ],
)
def test_a_placement_that_does_not_fit_is_refused(
    call_testbed: Cli, tmp_path: Path, content: str | None, message: str
) -> None:
    (tmp_path / "e.yaml").write_text(
        "placement: best.conf\ntopology: clos:spines=1,leaves=2,hosts=4\n"
        "jobs: [{name: train, ranks: 2, program: [{barrier: true}]}]\n"
    )
    if content is not None:
        (tmp_path / "best.conf").write_text(content)
    done = call_testbed("run", "e.yaml")
    assert done.returncode == 2 and message in done.stderr, done.stderr
