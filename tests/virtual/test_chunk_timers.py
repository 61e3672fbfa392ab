"""Chunks that timers alone repeat, in whole labs: payload arrives unharmed, a loss costs a timeout, and cores change nothing."""

import json

import pytest

from testbed._dataplane import VirtualFabric
from testbed.plan.workload import compile_workload
from tests.virtual.harness import MTU, check_conservation, finish, flows_to_last, make_trial, report_of, run_trial
from validation.fabric import spans

FLIGHT_PS = 100 * 10**6
TIMER = ("transport.recovery=timer", "transport.timeout=3rtt")


def test_sums_are_right_over_a_link_that_loses() -> None:
    trial = make_trial(spans(1, FLIGHT_PS, "100G", 1e-2), "all_reduce", *TIMER, "workload.size=4M")
    outcome = run_trial(trial)
    assert outcome.complete and outcome.rows[0]["wrong"] == 0
    report = outcome.report
    check_conservation(report)
    assert report["violations"] == [] and report["drops"]["link"] > 0
    assert sum(qp["timeouts"] for qp in report["qps"]) > 0
    assert all(qp["naks_rx"] == 0 and qp["error"] is None for qp in report["qps"])


@pytest.mark.parametrize(("chunk", "packets"), [("64KiB", 16), ("4KiB", 1), ("1MiB", 256)])
def test_a_loss_costs_a_timeout_and_a_chunk(chunk: str, packets: int) -> None:
    """Message after message of 256 packets, sent one by one; each timeout sends a whole chunk again, 600 us after it left."""
    trial = make_trial(
        spans(1, FLIGHT_PS, "100G", 1e-3), "incast", *TIMER, "workload.payload=false", f"transport.chunk={chunk}"
    )
    fabric = VirtualFabric(json.dumps(trial.plan))
    workload = json.dumps(compile_workload(trial.lab, trial.experiment, flows_to_last(1, 256 * MTU)))
    waited = timeouts = 0
    for _ in range(40):
        fabric.load(workload)
        report = finish(fabric)
        sender = report["qps"][0]
        # Counters go on from message to message.
        assert report["complete"] and sender["retransmitted"] == packets * sender["timeouts"]
        again, timeouts = sender["timeouts"] - timeouts, sender["timeouts"]
        time_ps = report["ranks"][0]["finish_ps"] - report["start_ps"]
        waits = (time_ps - 2 * FLIGHT_PS) // (6 * FLIGHT_PS)
        assert (waits > 0) == (again > 0) and waits <= again
        waited += waits
    assert waited >= 3


def test_cores_change_nothing() -> None:
    trial = make_trial("two-dc:length=80km", "all_reduce", *TIMER, "workload.size=1M")
    lossy = trial.plan | {"links": [link | {"loss": [0.01, 0.01]} for link in trial.plan["links"]]}
    reports = []
    for cores in (1, 2):
        fabric = VirtualFabric(json.dumps(lossy), cores)
        schedule = trial.collective.schedule(trial.series.shapes()[0])
        fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, schedule)))
        finish(fabric)
        reports.append(report_of(fabric))
    assert reports[0] == reports[1] and sum(qp["timeouts"] for qp in reports[0]["qps"]) > 0
