"""A run is told what it did itself, in all its iterations, whatever its fabric has seen before: counts, marks and losses."""

import dataclasses
import json

import pytest

from testbed._dataplane import VirtualFabric
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude
from testbed.run.pause_graph import shifted
from testbed.run.perform import perform
from testbed.run.trial import Trial
from tests.virtual.harness import Json, check_conservation, make_trial, run_trial

PAYLOAD = "workload.payload=false"
NS_A_METRE = 4.897


def on(fabric: VirtualFabric, trial: Trial) -> Outcome:
    return perform(trial, fabric, "virtual", lambda progress: None)


def fabric_of(trial: Trial) -> VirtualFabric:
    return VirtualFabric(json.dumps(trial.plan))


def entries(report: Json) -> list[Json]:
    return [entry for port in report["ports"].values() for entry in port["priorities"].values()]


def counted(outcome: Outcome) -> Json:
    """Return what must not depend on when a run began, nor on the packet numbers that its connections began with."""
    absolute = ("now_ps", "start_ps", "ranks", "flows", "event_log_hash")
    report = {key: value for key, value in outcome.report.items() if key not in absolute}
    assert outcome.pauses is not None
    pauses = shifted(outcome.pauses, -outcome.report["now_ps"])
    return {**dataclasses.asdict(outcome), "report": report, "pauses": pauses, "start_ps": None, "end_ps": None}


def test_two_equal_runs_on_one_fabric_have_equal_reports() -> None:
    trial = make_trial("pair:length=8km", "broadcast", "workload.size=200KB")
    fabric = fabric_of(trial)
    first, second = on(fabric, trial), on(fabric, trial)
    assert counted(first) == counted(second)
    assert second.start_ps == first.report["now_ps"] > 0 and second.flows[0]["start_ns"] == 0
    check_conservation(second.report)


def test_the_second_of_two_runs_of_62_frames_has_62() -> None:
    trial = make_trial("two-dc:length=8km", "all_reduce", "workload.size=64KiB")
    fabric = fabric_of(trial)
    frames = [on(fabric, trial).report["ports"]["leaf-a:eth1"]["priorities"]["3"]["frames_tx"] for _ in range(2)]
    assert frames == [62, 62]


def test_three_runs_over_a_lossy_link_each_have_their_own_losses() -> None:
    trial = make_trial("two-dc:length=8km,loss=1e-2", "all_reduce", "workload.size=1MiB")
    fabric = fabric_of(trial)
    for _ in range(3):
        outcome = on(fabric, trial)
        report = outcome.report
        assert outcome.complete and 0 < report["drops"]["link"] == sum(
            entry["drops"]["link"] for entry in entries(report)
        )
        check_conservation(report)
        # All that the connections sent left the NICs once, acknowledgements aside.
        sent = sum(qp["packets_tx"] for qp in report["qps"])
        hosts = [port for name, port in report["ports"].items() if name[:2] in ("a1", "a2", "b1", "b2")]
        assert sent == sum(port["priorities"]["3"]["data_frames_tx"] for port in hosts)


def test_what_a_run_lost_and_filled_is_no_fault_of_the_next_one() -> None:
    settings = ("lossless.pfc=false", PAYLOAD)
    crowd = make_trial("incast", "incast", "workload.size=1MiB", *settings)
    fabric = fabric_of(crowd)
    lossy = on(fabric, crowd)
    assert lossy.report["drops"]["lossless"] > 0
    quiet = make_trial("incast", "incast", "workload.size=64KB", "workload.ranks=[r1, s1]", *settings)
    after = on(fabric, quiet)
    judged = conclude(quiet, after, "virtual", 1, "")
    assert judged.verdict.passed, judged.verdict.reasons
    alone = run_trial(quiet)
    for key in ("pools", "drops", "watchdog", "deadlocks", "violations"):
        assert after.report[key] == alone.report[key]
    held = [max(entry["queue_bytes_max"] for entry in entries(run.report)) for run in (lossy, after)]
    assert held[1] < 65536 < held[0]


def test_a_run_that_was_given_up_leaves_nothing_in_the_books_of_the_next_one() -> None:
    trial = make_trial("two-dc:length=300km", "all_reduce", "workload.size=1MiB", "limit=2ms")
    fabric = fabric_of(trial)
    cut = on(fabric, trial)
    assert cut.reasons and cut.report["conservation"]["in_flight"] > 0
    assert any(flow["completion_ns"] is None for flow in cut.flows)
    # Frames of the first run are still under way when the second begins, and arrive in it.
    whole = on(fabric, make_trial("two-dc:length=300km", "all_reduce", "workload.size=1MiB"))
    assert whole.complete
    check_conservation(whole.report)
    assert [qp["packets_tx"] for qp in whole.report["qps"]] == [
        qp["packets_tx"]
        for qp in run_trial(make_trial("two-dc:length=300km", "all_reduce", "workload.size=1MiB")).report["qps"]
    ]


def test_iterations_are_one_span_for_ports_drops_flows_and_recovery() -> None:
    settings = ("workload.size=1MiB", "transport.recovery=selective-repeat")
    lossy = "two-dc:length=8km,loss=1e-2"
    (once, thrice) = (run_trial(make_trial(lossy, "all_reduce", *settings, f"workload.iterations={n}")) for n in (1, 3))
    for outcome, times in ((once, 1), (thrice, 3)):
        report = outcome.report
        hosts = [port for name, port in report["ports"].items() if name[:2] in ("a1", "a2", "b1", "b2")]
        sent = sum(port["priorities"]["3"]["data_frames_tx"] for port in hosts)
        assert sent == sum(qp["packets_tx"] for qp in report["qps"])
        assert sum(qp["retransmitted"] for qp in report["qps"]) > 0
        assert report["conservation"]["dropped"] == report["drops"]["link"]
        # Four ranks, a ring: each sends 6/4 of the size, out of place and in place.
        assert sum(flow["bytes"] for flow in outcome.flows) == 2 * times * 6 * 2**20
        assert {flow["iterations"] for flow in outcome.flows} == {times}
        assert [flow["in_place"] for flow in outcome.flows] == [False] * 4 + [True] * 4


def test_a_flow_says_when_it_began_when_it_ended_and_how_long_it_took() -> None:
    settings = ("workload.size=1MiB", "workload.iterations=2", "workload.in-place=false")
    outcome = run_trial(make_trial("pair:length=80km", "broadcast", *settings))
    (flow,), (row,) = outcome.flows, outcome.rows
    each_ns, row_ns = flow["duration_ns"] / 2, row["time_us"] * 1000
    assert flow["start_ns"] == 0 and flow["completion_ns"] == row_ns + each_ns
    assert flow["goodput_bps"] == pytest.approx(flow["bytes"] * 8e9 / flow["duration_ns"], rel=1e-5)
    # A row waits for the last acknowledgement, a flow does not: two links of 80 km, and an ACK's 86 bytes on the line of each.
    back_ns = 2 * (80_000 * NS_A_METRE + 86 * 8 / 100)
    assert row_ns - each_ns == pytest.approx(back_ns, abs=1)
