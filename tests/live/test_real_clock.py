"""The data plane under the real clock by itself: when a workload is over, and what telemetry says of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from testbed._dataplane import RealFabric
from testbed.drivers.netns import NetnsDriver
from testbed.experiment import new_experiment
from testbed.plan import compile_fabric
from testbed.topology import load_lab
from testbed.workload import compile_workload
from tests.live.netns_lab import isolated
from traffic import COLLECTIVES
from traffic.collective import Shape

pytestmark = pytest.mark.usefixtures("require_root")

PATIENCE_MS = 20_000


@contextmanager
def loaded(**transport: Any) -> Iterator[RealFabric]:
    """Two hosts on a switch, each with 100 kB for the other."""
    lab, experiment = load_lab("pair:name=clocked"), new_experiment("pair", "permutation")
    plan = {**compile_fabric(lab, experiment), "emulation": "native"}
    schedule = COLLECTIVES["permutation"].schedule(Shape(2, 25_000, payload=False))
    workload = compile_workload(lab, experiment, schedule)
    workload["transport"] |= transport
    driver = NetnsDriver()
    attachments = [dict(attachment) for attachment in driver.deploy(plan)]
    fabric = RealFabric(json.dumps(plan), 100, json.dumps(attachments))
    try:
        fabric.load(json.dumps(workload))
        yield fabric
    finally:
        fabric.close()
        driver.destroy("clocked")


@isolated
def test_a_workload_whose_connections_gave_up_is_over() -> None:
    """Nothing is due any more then, and the loop sleeps; that time goes on all the same ends the wait."""
    with loaded(timeout_ps=10**9, retries=1) as fabric:
        fabric.impair(json.dumps([{"link": 0, "way": 0, "at_ps": None, "up": False}]))
        assert fabric.advance(PATIENCE_MS)
        report = json.loads(fabric.report())
        assert report["stalled"] and not report["complete"]
        assert {qp["error"] for qp in report["qps"]} == {"retry exceeded"}


@isolated
def test_telemetry_says_what_the_report_says() -> None:
    with loaded() as fabric:
        before = json.loads(fabric.telemetry())
        assert (before["ranks"], before["ranks_finished"], before["frame_hops"]) == (2, 0, 0)
        assert fabric.advance(PATIENCE_MS)
        report, seen = json.loads(fabric.report()), json.loads(fabric.telemetry())
        assert seen["ranks_finished"] == seen["ranks"] == 2
        assert seen["ports"] == report["ports"] and len(seen["ports"]) == 4
        assert all(port["priorities"]["3"]["frames_tx"] > 0 for port in seen["ports"].values())
        for key in ("frame_hops", "drops", "deadlocks"):
            assert seen[key] == report[key]
        assert seen["fidelity"].keys() == report["fidelity"].keys()
        assert seen["stopped_ns"] > 0
