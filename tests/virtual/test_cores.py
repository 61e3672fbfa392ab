"""A run spread over cores is the run on one core: outcome, report and hash, whatever the lab, the faults and the slices."""

import itertools
import json
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import load_lab
from testbed.plan.workload import compile_workload
from testbed.run.execution import Outcome
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from testbed.schema.source import parse_yaml
from testbed.traffic.point_to_point import permutation
from tests.virtual.harness import check_conservation, finish, loaded_fabric, make_trial

CONGESTED = ("lossless.ecn={kmin: 20KB, kmax: 200KB, pmax: 0.2}", "transport.congestion-control=dcqcn")


def on_cores(trial: Trial, cores: int, budget: int = 1 << 20) -> Outcome:
    return run_virtual(trial, None, lambda progress: None, cores, budget)


def three_sites() -> dict[str, Any]:
    """Return a lab of three sites in a triangle, each of two hosts and a switch, with sides of 40, 60 and 100 km."""
    nodes: dict[str, Any] = {f"s{site}": {"kind": "switch", "buffer": "auto"} for site in range(3)}
    nodes |= {f"h{site}{host}": {"kind": "host"} for site in range(3) for host in range(2)}
    links = [
        {"endpoints": [f"h{site}{host}:eth1", f"s{site}:eth{host + 1}"], "rate": "100G", "delay": "1us"}
        for site in range(3)
        for host in range(2)
    ]
    for number, (a, b) in enumerate(itertools.combinations(range(3), 2)):
        ends = [f"s{a}:eth{2 + b}", f"s{b}:eth{3 + a}"]
        links.append({"endpoints": ends, "rate": "100G", "delay": f"{(200, 300, 500)[number]}us", "loss": [1e-3, 0]})
    return {"name": "three-sites", "topology": {"nodes": nodes, "links": links}}


TWO_DC = "two-dc:hosts=3,length=60km,rate=100G"
SIZE = ("workload.size=2MB", "workload.iterations=2")
CASES = {
    "incast over a span, paused and marked": (TWO_DC, "incast", (*SIZE, *CONGESTED), []),
    "telemetry of switches over a span": (TWO_DC, "incast", (*SIZE, "transport.congestion-control=hpcc"), []),
    "a lossy span": (f"{TWO_DC},loss=1e-3", "all_reduce", (*SIZE, "transport.recovery=selective-repeat"), []),
    "a span that changes": (
        TWO_DC,
        "all_reduce",
        SIZE,
        [
            {"at": "1ms", "for": "2ms", "impair": {"loss": 0.01, "jitter": "20us"}},
            {"at": "2ms", "for": "1ms", "impair": {"delay": "5us"}},
            {"at": "4ms", "for": "1ms", "impair": {"down": True}},
        ],
    ),
    "three sites": (three_sites(), "all_reduce", (*SIZE, *CONGESTED), []),
    "a clos of short links, recorded": (
        "clos:tiers=3,rate=100G,delay=1us",
        "incast",
        ("workload.size=200KB", "workload.iterations=1", "series=auto", *CONGESTED),
        [],
    ),
    "leaves and spines": (
        "clos:spines=2,leaves=4,hosts=2",
        "all_to_all",
        ("workload.size=400KB", "workload.iterations=2", *CONGESTED),
        [],
    ),
    "a super-node": ("super-node:domains=2,size=4", "all_reduce", ("workload.size=500KB", "workload.iterations=1"), []),
    "a span with series, skipped where it recurs": (
        TWO_DC,
        "permutation",
        ("workload.payload=false", "workload.size=4MB", "workload.iterations=1", "fast=1%"),
        [],
    ),
}


def trial_of(case: str) -> Trial:
    lab, collective, settings, timeline = CASES[case]
    trial = make_trial(lab, collective, *settings)
    span = "border-a:eth2"
    entries = [{"link": span, "direction": "both", **entry} for entry in timeline]
    return trial if not entries else make_trial(lab, collective, *settings, f"timeline={json.dumps(entries)}")


@pytest.mark.parametrize("case", CASES)
def test_cores_and_slices_do_not_show(case: str) -> None:
    trial = trial_of(case)
    alone = on_cores(trial, 1)
    assert alone.complete
    check_conservation(alone.report)
    for cores, budget in [(2, 1 << 20), (3, 7_777), (1, 7_777), (8, 7_777), (0, 100)]:
        assert on_cores(trial, cores, budget) == alone, f"{cores} cores, {budget} events at a time"


def test_what_these_runs_are_made_of() -> None:
    """The cases above prove something: there are pauses, marks, losses and changes in them."""
    reports = {case: on_cores(trial_of(case), 2).report for case in CASES}
    counters = {
        case: [entry for port in report["ports"].values() for entry in port["priorities"].values()]
        for case, report in reports.items()
    }
    paused = counters["incast over a span, paused and marked"]
    assert sum(entry["pause_rx"] for entry in paused) > 0 and sum(entry["ecn_marked"] for entry in paused) > 0
    assert reports["a lossy span"]["drops"]["link"] > 0 and reports["three sites"]["drops"]["link"] > 0
    assert len(reports["a span that changes"]["impairments"]) >= 10
    assert reports["a span that changes"]["drops"]["outage"] > 0


def test_a_large_lab_has_the_order_of_two_small_ones() -> None:
    """Of 4096 ports and timers and more the queue is of another kind; each half of them has the usual one."""
    ranks = ("workload.ranks=[a1, a2, a800, b1, b2, b800]", "workload.payload=false")
    trial = make_trial("two-dc:hosts=800,length=1km,rate=100G", "all_reduce", "workload.size=600KB", *ranks, *CONGESTED)
    alone = on_cores(trial, 1)
    assert alone.complete and alone == on_cores(trial, 2)


JOBS = """
topology: clos:spines=2,leaves=4,hosts=2,delay=500ns
jobs:
  - {name: one, ranks: [h1, h3, h5], repeat: 3, program: [{compute: 20us}, {all_reduce: 300KB}]}
  - {name: two, ranks: [h2, h8], start: 10us, repeat: 4, program: [{send: 200KB, from: 0, to: 1}, {compute: 5us}]}
"""


def test_jobs_and_what_paused_them_are_the_same_on_any_number_of_cores() -> None:
    lab = load_lab("clos:spines=2,leaves=4,hosts=2,delay=500ns")
    trial = Trial(experiment_from(parse_yaml(JOBS, "e.yaml", ExperimentError)), lab)
    alone = on_cores(trial, 1)
    assert alone.complete and [len(job["iterations"]) for job in alone.jobs] == [3, 4]
    for cores in (2, 3, 8):
        assert on_cores(trial, cores, 7_777) == alone, f"{cores} cores"


@pytest.mark.parametrize("cores", [2, 3, 8])
def test_links_of_a_microsecond_are_cut_where_cores_are_asked_for(cores: int) -> None:
    """What is shared out is shared out evenly, and threads are tried."""
    trial = make_trial("clos:tiers=3,rate=100G,delay=1us", "permutation", "workload.payload=false")
    loaded = json.dumps(compile_workload(trial.lab, trial.experiment, permutation(16, 1 << 20, 8)))
    hashes = set()
    for number in (1, cores):
        fabric = VirtualFabric(json.dumps(trial.plan), number)
        fabric.load(loaded)
        hashes.add(finish(fabric)["event_log_hash"])
    turns = json.loads(fabric.turns())
    assert len(hashes) == 1 and turns["shards"] == cores and turns["lookahead_ps"] == 1_000_000
    assert 0 < turns["apart_turns"] <= turns["turns"] and turns["apart_events"] > 0
    assert turns["longest_events"] / turns["events"] < 2 / cores


def test_a_capture_is_in_order_on_any_number_of_cores(tmp_path: Any) -> None:
    trial = make_trial(TWO_DC, "permutation", "workload.size=200KB", "workload.payload=false")
    captures = []
    for cores in (1, 2, 3, 8):
        path = tmp_path / f"{cores}.pcapng"
        run_virtual(trial, path, lambda progress: None, cores)
        captures.append(path.read_bytes())
    assert len(captures[0]) > 100_000 and captures == captures[:1] * 4


def test_one_core_is_the_default_and_a_negative_number_is_none() -> None:
    trial = make_trial(TWO_DC, "permutation")
    plan = json.dumps(trial.plan)
    with pytest.raises(OverflowError):
        VirtualFabric(plan, -1)
    fabric = loaded_fabric(trial, permutation(6, 1 << 16, 3))
    assert not fabric.advance(1), "exactly one event: more are due"
    assert json.loads(fabric.report())["events"] == 1
