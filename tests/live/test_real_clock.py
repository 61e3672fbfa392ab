"""The data plane under the real clock by itself: when a workload is over, and what telemetry says of it."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed._dataplane import RealFabric, VirtualFabric
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.run.fidelity import FidelityBounds, judge_fidelity
from testbed.traffic import COLLECTIVES
from testbed.traffic.collective import Shape
from tests.live.data_plane import forwarding
from tests.live.machine import ATTEMPTS
from tests.live.netns_lab import inside, isolated

pytestmark = pytest.mark.usefixtures("require_root")

PATIENCE_MS = 20_000
LAB = "clocked"


def _pair() -> tuple[dict[str, Any], str]:
    lab, experiment = load_lab(f"pair:name={LAB}"), new_experiment("pair", "permutation")
    schedule = COLLECTIVES["permutation"].schedule(Shape(2, 25_000, payload=False))
    workload = json.dumps(compile_workload(lab, experiment, schedule))
    return {**compile_fabric(lab, experiment), "emulation": "native"}, workload


PLAN, WORKLOAD = _pair()


@contextmanager
def loaded(dilation: int = 100, **transport: Any) -> Iterator[RealFabric]:
    """Two hosts on a switch, each with 100 kB for the other."""
    workload = json.loads(WORKLOAD)
    workload["transport"] |= transport
    with forwarding(PLAN, dilation, shaped=1) as fabric:
        fabric.load(json.dumps(workload))
        yield fabric


def tc(node: str, *arguments: str) -> None:
    """Change how the kernel deals with frames at an interface of a node."""
    assert NetnsDriver().exec_in(LAB, node, ["tc", *arguments]) == 0


def finish_ps(fabric: RealFabric) -> int:
    """Run what is loaded to its end and return how long it took."""
    assert fabric.advance(PATIENCE_MS)
    report = json.loads(fabric.report())
    assert report["complete"], report
    return int(max(rank["finish_ps"] for rank in report["ranks"]) - report["start_ps"])


def fidelity(fabric: RealFabric) -> dict[str, Any]:
    judged: dict[str, Any] = json.loads(fabric.report())["fidelity"]
    return judged


@isolated
def test_time_waits_for_frames_that_the_kernel_keeps() -> None:
    """A frame a few ms in the kernel is 40 µs of nominal time: the network would be ten times slower if that passed."""
    with loaded() as fabric:
        quick_ps = finish_ps(fabric)
        tc("leaf", "qdisc", "add", "dev", "eth2", "root", "tbf", "rate", "8mbit", "burst", "5000", "limit", "1mb")
        # It takes 10 µs: a machine that is busy elsewhere may be late for a few of them, but not every time.
        for _ in range(ATTEMPTS):
            fabric.load(WORKLOAD)
            if (held_ps := finish_ps(fabric)) < 2 * quick_ps:
                break
        assert held_ps < 2 * quick_ps
        figures = fidelity(fabric)
        assert figures["held_share"] > 0.5 and figures["lost_in_kernel"] == {}
        assert any("held back" in reason for reason in judge_fidelity(figures, FidelityBounds()))


@isolated
def test_frames_that_other_processors_deliver_late_are_waited_for() -> None:
    """Receive packet steering hands frames to a backlog of another processor, which is busy here."""
    with loaded() as fabric:
        for node in ("a1", "b1", "leaf"):
            ports = (
                "for queue in /sys/class/net/eth*/queues/rx-0; do echo $1 > $queue/rps_cpus; cat $queue/rps_cpus; done"
            )
            every = f"{(1 << (os.cpu_count() or 1)) - 1:x}"
            steer = ["ip", "netns", "exec", f"testbed-{LAB}-{node}", "sh", "-ec", ports, "sh", every]
            told = subprocess.run(steer, check=True, capture_output=True, text=True).stdout.split()
            assert told and all(int(mask.replace(",", ""), 16) == int(every, 16) for mask in told)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
        try:
            finish_ps(fabric)
        finally:
            for process in busy:
                process.kill()
                process.wait()
        report = json.loads(fabric.report())
        assert report["violations"] == [] and report["drops"] == dict.fromkeys(report["drops"], 0)
        figures = report["fidelity"]
        assert (figures["socket_drops"], figures["overflow"], figures["lost_in_kernel"]) == (0, 0, {})


@isolated
def test_a_frame_that_the_kernel_loses_is_waited_for_only_so_long_and_named() -> None:
    with loaded(timeout_ps=10**9, retries=1) as fabric:
        tc("leaf", "qdisc", "add", "dev", "eth2", "clsact")
        away = (
            "protocol",
            "all",
            "u32",
            "match",
            "u32",
            "0",
            "0",
            "action",
            "mirred",
            "egress",
            "redirect",
            "dev",
            "lo",
        )
        tc("leaf", "filter", "add", "dev", "eth2", "egress", *away)
        assert fabric.advance(PATIENCE_MS)
        assert json.loads(fabric.report())["stalled"]
        figures = fidelity(fabric)
        assert figures["lost_in_kernel"].keys() == {"leaf:eth2"}
        reasons = judge_fidelity(figures, FidelityBounds())
        assert any("lost inside the kernel on their way from leaf:eth2" in reason for reason in reasons), reasons


def _overload(topology: str, collective: str, size_bytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a collective at dilation 1, which no machine keeps up with, and under the virtual clock; return both reports."""
    lab, experiment = load_lab(topology), new_experiment(topology, collective)
    plan = {**compile_fabric(lab, experiment), "emulation": "native"}
    hosts = sum(node["kind"] == "host" for node in plan["nodes"])
    schedule = COLLECTIVES[collective].schedule(Shape(hosts, size_bytes // 4, payload=False))
    workload = json.dumps(compile_workload(lab, experiment, schedule))
    exact = VirtualFabric(json.dumps(plan))
    exact.load(workload)
    assert exact.advance(10**9)
    driver = NetnsDriver()
    attachments = [dict(attachment) for attachment in driver.deploy(plan)]
    try:
        fabric = RealFabric(json.dumps(plan), 1, json.dumps(attachments))
        try:
            fabric.load(workload)
            assert fabric.advance(PATIENCE_MS)
            return json.loads(fabric.report()), json.loads(exact.report())
        finally:
            fabric.close()
    finally:
        driver.destroy(lab.name)


def _marks(report: dict[str, Any]) -> dict[str, int]:
    return {name: port["priorities"]["3"]["headroom_bytes_max"] for name, port in report["ports"].items()}


def _times_ps(report: dict[str, Any]) -> list[int]:
    return [rank["finish_ps"] - report["start_ps"] for rank in report["ranks"]]


def _check_overload(topology: str, collective: str, size_bytes: int) -> None:
    real, exact = _overload(topology, collective, size_bytes)
    assert real["drops"] == exact["drops"] and real["drops"]["lossless"] == 0
    assert max(_marks(exact).values()) > 0, "nobody was paused"
    assert _marks(real) == _marks(exact)
    assert _times_ps(real) == _times_ps(exact)
    assert any("held back" in reason for reason in judge_fidelity(real["fidelity"], FidelityBounds()))


@isolated
def test_a_permutation_that_overloads_the_machine_is_as_exact_as_the_virtual_clock() -> None:
    """A step of nominal time later at each end of a link, and pauses take effect two frames later than headroom has room for."""
    _check_overload(f"clos:name={LAB}", "permutation", 1 << 19)


@isolated
def test_an_incast_over_a_slow_spine_is_as_exact_as_the_virtual_clock() -> None:
    _check_overload(f"clos:name={LAB},leaves=2,hosts=3,spines=1,rate=25G", "incast", 1 << 18)


@isolated
def test_lateness_is_what_was_measured() -> None:
    """No frame leaves before it is due, and at dilation 1 no machine is so fast that one leaves within a nanosecond."""
    with loaded(dilation=1) as fabric:
        finish_ps(fabric)
        figures = fidelity(fabric)["lateness_ns"]
        assert 0 < figures["p50"] <= figures["p99"] <= figures["max"]


@isolated
def test_frames_that_find_a_socket_full_are_counted() -> None:
    """The data plane is kept from reading: what it captures goes into a pipe that nobody empties."""
    frames, frame_bytes = 20_000, 1_500
    with loaded() as fabric:
        pipe = Path("/run/capture")
        os.mkfifo(pipe)
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        fabric.capture(str(pipe))
        sender = inside(LAB, "a1", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        sender.bind(("eth1", 0))
        kernels = [bytes.fromhex(station["mac"].replace(":", "")) for station in PLAN["stations"][2:]]
        frame = (kernels[1] + kernels[0] + b"\x88\xb5").ljust(frame_bytes, b"\0")
        for _ in range(frames):
            sender.send(frame)
        # A reader that takes all from now on lets the data plane go on.
        os.set_blocking(reading, True)
        emptying = threading.Thread(target=lambda: all(iter(lambda: os.read(reading, 1 << 20), b"")))
        emptying.start()
        figures = fidelity(fabric)
        fabric.capture(None)
        emptying.join()
        assert figures["socket_drops"] > 0
        assert any("dropped by sockets" in reason for reason in judge_fidelity(figures, FidelityBounds()))


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


@isolated
def test_windows_of_a_settled_state_are_at_exact_instants() -> None:
    with loaded() as fabric:
        fabric.begin_span(json.dumps({"warmup_ps": 2 * 10**6, "window_ps": 3 * 10**6}))
        assert fabric.advance(PATIENCE_MS)
        report = json.loads(fabric.report())
        settled = report["settled"]
        assert [part["from_ns"] for part in settled["windows"]] == [
            2_000 + 3_000 * n for n in range(len(settled["windows"]))
        ]
        assert len(settled["windows"]) > 2
        sent = [
            part["ports"]["leaf:eth2"]["priorities"].get("3", {}).get("frames_tx", 0) for part in settled["windows"]
        ]
        assert sum(sent) == settled["ports"]["leaf:eth2"]["priorities"]["3"]["frames_tx"]
        assert sum(sent) <= report["ports"]["leaf:eth2"]["priorities"]["3"]["frames_tx"]


@isolated
def test_a_span_begins_without_the_lateness_and_the_held_time_of_those_before() -> None:
    with loaded() as fabric:
        assert fabric.advance(PATIENCE_MS)
        first = json.loads(fabric.report())["fidelity"]
        assert first["lateness_ns"]["max"] > 0 and first["cpu_share"] > 0
        fabric.begin_span("null")
        second = json.loads(fabric.report())["fidelity"]
        assert second["lateness_ns"] == {"p50": 0, "p99": 0, "max": 0}
        assert second["held_share"] == second["cpu_share"] == second["late_frames"] == 0
        assert json.loads(fabric.telemetry())["fidelity"]["lateness_ns"] == first["lateness_ns"], "the lab's is kept"
