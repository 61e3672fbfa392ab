"""Deadlocks of running fabrics: reported with their ports where nothing moves any more, and nowhere else."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed import topologies
from testbed._dataplane import VirtualFabric
from testbed.buffers.deadlock import find_cycles
from testbed.experiment.file import load_experiment
from testbed.lab.topology import lab_from, load_lab
from testbed.plan.workload import compile_workload
from testbed.run.judgement import conclude
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.traffic import RankSchedule, Recv, Schedule, Send
from tests.virtual.harness import (
    Json,
    check_conservation,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    report_of,
    run_trial,
    star,
)

EXPERIMENTS = Path(topologies.__file__).parent / "experiments"
CIRCLE = ["switch1:eth2", "switch2:eth3", "switch3:eth3"]


def shipped(name: str, *overrides: str) -> RunResult:
    """Run an experiment that ships with the testbed, and judge it."""
    experiment = load_experiment(EXPERIMENTS / f"{name}.yaml").with_overrides(overrides)
    trial = Trial(experiment, load_lab(experiment.topology))
    return conclude(trial, run_trial(trial), "virtual", 1, "replay")


def test_three_two_hop_flows_around_three_switches_deadlock_and_are_reported() -> None:
    result = shipped("deadlock-ring")
    assert result.buffer_dependencies.cycles == [CIRCLE]
    (deadlock,) = result.deadlocks
    assert (deadlock.ports, deadlock.priority, deadlock.cured_ns) == (CIRCLE, 3, None)
    # The flows meet within some 20 µs; the second look at the fabric is certain of it.
    assert deadlock.at_ns <= 200_000
    verdict = result.verdict
    assert verdict.deadlock and verdict.lossless and not verdict.complete and not verdict.passed
    assert verdict.reasons[0] == (
        "deadlock on priority 3: switch1:eth2 → switch2:eth3 → switch3:eth3 → switch1:eth2, from 0.200 ms for good"
    )
    assert result.exit_code == 1


def test_routed_up_and_down_the_same_flows_do_not() -> None:
    result = shipped("deadlock-ring-updown")
    assert result.buffer_dependencies.cycles == [] and result.deadlocks == []
    assert result.verdict.passed and result.exit_code == 0
    assert all(flow.goodput_bps > 90e9 for flow in result.flows)


def test_a_watchdog_that_forwards_breaks_the_circle_and_the_run_goes_on() -> None:
    result = shipped("deadlock-ring-watchdog")
    (deadlock,) = result.deadlocks
    # Paused since some 10 µs for more than 2 ms, and looked at every millisecond.
    assert (deadlock.ports, deadlock.cured_ns, deadlock.cured_by) == (CIRCLE, 3e6, CIRCLE)
    assert [(storm.port, storm.detected_ns, storm.cause) for storm in result.watchdog] == [
        (port, 3e6, "deadlock") for port in CIRCLE
    ]
    verdict = result.verdict
    assert verdict.complete and verdict.lossless and verdict.deadlock and not verdict.passed and result.exit_code == 1
    assert verdict.reasons == [
        "deadlock on priority 3: switch1:eth2 → switch2:eth3 → switch3:eth3 → switch1:eth2, from 0.200 ms until 3.000 ms, "
        "when the watchdog broke it at switch1:eth2, switch2:eth3, switch3:eth3"
    ]


def test_a_watchdog_that_drops_breaks_it_again_and_again() -> None:
    """What was dropped comes again when connections time out, all at once, and closes the circle anew."""
    result = shipped("deadlock-ring-watchdog", "lossless.watchdog.action=drop", "transport.retries=3")
    times = [(deadlock.at_ns, deadlock.cured_ns) for deadlock in result.deadlocks]
    assert len(times) == 4 and all(cured is not None and cured - at <= 4e6 for at, cured in times)
    assert all(later[0] > earlier[1] for earlier, later in pairwise(times) if earlier[1] is not None)
    assert result.drops.lossless == sum(storm.dropped for storm in result.watchdog) > 0
    (reason,) = [reason for reason in result.verdict.reasons if reason.startswith("deadlock")]
    assert "; 3 times more, the last until" in reason


@pytest.mark.parametrize("switch", [{"profile": "azure-24mb"}, {"thresholds": {"xoff": "20KB", "xon": "0B"}}], ids=str)
def test_neither_shared_memory_nor_other_thresholds_help(switch: Json) -> None:
    data = topologies.generate("ring", {"routing": "clockwise", "switches": "4", "length": "2km"})
    data["topology"]["kinds"]["switch"] = {"lossless": [3], **switch}
    trial = Trial(load_experiment(EXPERIMENTS / "deadlock-ring.yaml"), lab_from(Source("test", data)))
    trial = Trial(
        trial.experiment.with_overrides(
            ["workload.ranks=[h1, h2, h3, h4]", "workload.collective=permutation", "transport.window=64MiB"]
        ),
        trial.lab,
    )
    outcome = run_trial(trial)
    (deadlock,) = outcome.report["deadlocks"]
    assert deadlock["ports"] == ["switch1:eth2", "switch2:eth3", "switch3:eth3", "switch4:eth3"]
    assert not outcome.complete


def credited(routing: str) -> Json:
    """Return a ring whose switches give each other credit, while its hosts obey PFC."""
    lab = topologies.generate("ring", {"routing": routing})
    for link in lab["topology"]["links"][3:]:
        link |= {"flow-control": "credit", "credits": "64KiB"}
    return lab


def test_credits_deadlock_as_pauses_do() -> None:
    pairs = [(0, 2), (1, 0), (2, 1)]
    trial = make_trial(credited("clockwise"), "permutation", "workload.payload=false")
    report = finish(loaded_fabric(trial, flows(pairs, 3, 2**22)))
    assert not report["complete"] and report["violations"] == []
    assert [deadlock["ports"] for deadlock in report["deadlocks"]] == [CIRCLE]
    assert report["ports"]["switch1:eth2"]["priorities"]["3"]["pause_rx"] == 0
    assert [list(cycle.ports) for cycle in find_cycles(trial.plan, [3])] == [CIRCLE]

    trial = make_trial(credited("up-down"), "permutation", "workload.payload=false")
    report = finish(loaded_fabric(trial, flows(pairs, 3, 2**22)))
    assert report["complete"] and report["deadlocks"] == []


def test_what_is_found_does_not_depend_on_how_a_run_is_sliced() -> None:
    reports = []
    for budget in (1, 40, 6_000):
        trial = make_trial("ring:routing=clockwise", "permutation", "workload.payload=false")
        fabric = loaded_fabric(trial, flows([(0, 2), (1, 0), (2, 1)], 3, 2**22))
        for _ in range(6_000 // budget):
            assert not fabric.advance(budget)
        reports.append(report_of(fabric))
    assert reports[0] == reports[1] == reports[2]
    assert [deadlock["ports"] for deadlock in reports[0]["deadlocks"]] == [CIRCLE]


def test_what_is_found_does_not_depend_on_how_many_cores_there_are() -> None:
    reports = []
    for cores in (1, 2):
        trial = make_trial("ring:routing=clockwise,length=20km", "permutation", "workload.payload=false")
        fabric = VirtualFabric(json.dumps(trial.plan), cores)
        schedule = flows([(0, 2), (1, 0), (2, 1)], 3, 2**24)
        fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, schedule)))
        reports.append(finish(fabric))
    assert reports[0] == reports[1]
    assert [deadlock["ports"] for deadlock in reports[0]["deadlocks"]] == [CIRCLE]


def flows(pairs: list[tuple[int, int]], ranks: int, size: int) -> Schedule:
    """Let pairs of ranks send messages of one size, lengths only, all at once."""
    ops: list[list[Send | Recv]] = [[] for _ in range(ranks)]
    for sender, receiver in pairs:
        ops[sender].append(Send(receiver, 0, size, 0))
        ops[receiver].append(Recv(sender, 0, size))
    return Schedule(tuple(RankSchedule(0, tuple(own)) for own in ops))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_run_stalls_if_and_only_if_a_deadlock_is_found(data: st.DataObject) -> None:
    """Rings of any routing, hosts of any speed, any flows: a report of a deadlock is never wrong, and never missing."""
    switches = data.draw(st.integers(3, 5), label="switches")
    routing = data.draw(st.sampled_from(["clockwise", "clockwise", "shortest", "up-down"]), label="routing")
    length = data.draw(st.sampled_from(["5m", "1km", "20km"]), label="length")
    lab = topologies.generate("ring", {"switches": str(switches), "routing": routing, "length": length})
    for link in lab["topology"]["links"][:switches]:
        link["rate"] = data.draw(st.sampled_from(["10G", "40G", "100G"]), label="rate of a host")
    xoff = data.draw(st.sampled_from(["12KB", "60KB", "400KB"]), label="xoff")
    lab["topology"]["kinds"]["switch"]["thresholds"] = {"xoff": xoff, "xon": data.draw(st.sampled_from(["0B", "10KB"]))}
    # Over 20 km, credit for three frames at a time would carry less than connections have patience for.
    if length != "20km" and data.draw(st.booleans(), label="credits"):
        for link in lab["topology"]["links"][switches:]:
            link |= {"flow-control": "credit", "credits": xoff}
    rank = st.integers(0, switches - 1)
    around = [(number, (number + 2) % switches) for number in range(switches)]
    silent = data.draw(st.sets(rank, max_size=1), label="silent")
    others = data.draw(
        st.sets(st.tuples(rank, rank).filter(lambda pair: pair[0] != pair[1]), max_size=3), label="others"
    )
    pairs = sorted({pair for pair in around if pair[0] not in silent} | others)
    trial = make_trial(lab, "permutation", "workload.payload=false", "transport.window=4MiB", "transport.retries=1")
    report = finish(loaded_fabric(trial, flows(pairs, switches, 2**21)))
    assert report["complete"] == (report["deadlocks"] == [])
    assert report["violations"] == [] and report["drops"]["lossless"] == 0
    assert all(deadlock["cured_ns"] is None for deadlock in report["deadlocks"])
    if report["deadlocks"]:
        both = [way for pair in pairs for way in (pair, pair[::-1])]
        expected = [sorted(cycle.ports) for cycle in find_cycles(trial.plan, [3], both)]
        assert all(sorted(deadlock["ports"]) in expected for deadlock in report["deadlocks"])
    else:
        check_conservation(report)


def test_a_long_pause_over_a_great_distance_is_no_deadlock() -> None:
    """3000 km at a ratio of rates of 8 : 1: a pause of 240 ms is right, and is not taken for anything else.

    Both ends of the span are switches, and a lossless queue stands paused on one of them as long as the receiver takes to
    drain what a round trip at the sender's rate has brought.
    """
    nodes: Json = {"a1": {"kind": "host"}, "b1": {"kind": "host"}}
    nodes |= {"near": {"kind": "switch", "buffer": "auto"}, "far": {"kind": "switch", "buffer": "auto"}}
    links = [
        {"endpoints": ["a1:eth1", "near:eth1"], "rate": "8G", "delay": "1us"},
        {"endpoints": ["near:eth2", "far:eth2"], "rate": "8G", "length": "3000km"},
        {"endpoints": ["far:eth1", "b1:eth1"], "rate": "1G", "delay": "1us"},
    ]
    lab = {"name": "far", "topology": {"nodes": nodes, "links": links}}
    trial = make_trial(lab, "incast", "workload.payload=false", "transport.window=400MiB", "transport.timeout=19")
    fabric = loaded_fabric(trial, flows_to_last(1, 2**26))
    report = finish(fabric)
    assert report["complete"] and report["deadlocks"] == []
    assert report["ports"]["near:eth2"]["priorities"]["3"]["paused_ns"] > 200e6
    check_conservation(report)


def test_a_pause_between_hosts_and_one_switch_is_none_either() -> None:
    report = finish(loaded_fabric(make_trial(star(dict.fromkeys("abc", "1us")), "incast"), flows_to_last(2, 2**22)))
    assert report["complete"] and report["deadlocks"] == []
    assert report["ports"]["a:eth1"]["priorities"]["3"]["pause_rx"] > 0
