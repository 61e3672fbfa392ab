"""The hosts' own kernels talking across the emulated fabric: ping and TCP through the real data plane.

Each test runs in a child process with a mount namespace and a /run of its own (see `isolated`).
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed._dataplane import RealFabric
from testbed.drivers.netns import NetnsDriver
from testbed.experiment import new_experiment
from testbed.plan import compile_fabric
from testbed.topology import load_lab
from testbed.workload import compile_workload
from tests.live.netns_lab import inside, isolated
from traffic import COLLECTIVES
from traffic.collective import Shape

pytestmark = pytest.mark.usefixtures("require_root")

LAB = "talk"
OUTPUT = Path("/run/output")
SHAPED_BPS = 100_000_000
TCP_SECONDS = 3
SLACK_MS = 30
FLOOD = "import socket; s = socket.socket(type=socket.SOCK_DGRAM)\nwhile True: s.sendto(bytes(4000), ('{}', 7000))"


@contextmanager
def running(topology: str, dilation: int) -> Iterator[tuple[dict[str, Any], RealFabric]]:
    """Deploy a lab and let its data plane forward."""
    lab = load_lab(f"{topology},name={LAB}")
    plan = {**compile_fabric(lab, new_experiment(topology.split(":")[0], "all_reduce")), "emulation": "native"}
    driver = NetnsDriver()
    attachments = driver.deploy(plan, dilation)
    try:
        fabric = RealFabric(json.dumps(plan), dilation, json.dumps(attachments))
        try:
            yield plan, fabric
        finally:
            fabric.close()
    finally:
        driver.destroy(LAB)


def output(node: str, *argv: str) -> str:
    """Return what a program prints inside a node."""
    status = NetnsDriver().exec_in(LAB, node, ["sh", "-c", f'exec >{OUTPUT}; exec "$0" "$@"', *argv])
    text = OUTPUT.read_text()
    assert status == 0, text
    return text


def path_delay_ps(plan: dict[str, Any], source: str, destination: str) -> int:
    """Return the propagation delay from host to host, along the first of the routes."""
    number = {node["name"]: index for index, node in enumerate(plan["nodes"])}
    station = next(
        i for i, entry in enumerate(plan["stations"]) if (entry["kind"], entry["name"]) == ("kernel", destination)
    )
    ends = {tuple(link[a]): (link[b][0], link["delay_ps"]) for link in plan["links"] for a, b in ("ab", "ba")}
    here, delay_ps = ends[number[source], 0]
    while plan["nodes"][here]["kind"] == "switch":
        here, more_ps = ends[here, plan["nodes"][here]["routes"][station][0]]
        delay_ps += more_ps
    assert here == number[destination]
    return int(delay_ps)


def check_ping(plan: dict[str, Any], dilation: int) -> None:
    text = output("a1", "ping", "-c", "5", "-i", "0.2", "b1")
    assert " 5 received, 0% packet loss" in text
    found = re.search(r"= ([\d.]+)/", text)
    assert found is not None, text
    least_ms, expected_ms = float(found[1]), 2 * path_delay_ps(plan, "a1", "b1") * dilation / 1e9
    assert expected_ms <= least_ms < expected_ms + SLACK_MS


def held_s(fabric: RealFabric, since: float) -> float:
    """Return for how long the data plane has held nominal time back, because the machine was busy elsewhere."""
    return float(json.loads(fabric.report())["fidelity"]["held_share"]) * (time.monotonic() - since)


def check_tcp(fabric: RealFabric, since: float) -> None:
    """Let TCP run; it must fill half of what the links carried in that time, and no more than that."""
    server = inside(LAB, "b1", lambda: subprocess.Popen(["iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE))
    assert server.stdout is not None
    while not server.stdout.readline().startswith(b"Server listening"):
        assert server.poll() is None
    held_before_s = held_s(fabric, since)
    # The first second, in which TCP finds out what it may send, does not count.
    result = json.loads(output("a1", "iperf3", "-c", "b1", "-t", str(TCP_SECONDS), "-O", "1", "-J"))
    held_share = (held_s(fabric, since) - held_before_s) / (TCP_SECONDS + 1)
    server.communicate(timeout=10)
    assert server.returncode == 0
    received_bps = result["end"]["sum_received"]["bits_per_second"]
    print(f"{received_bps / 1e6:.1f} Mb/s, held back {held_share:.2f}")
    assert received_bps <= SHAPED_BPS
    assert received_bps >= SHAPED_BPS * (1 - held_share) / 2


def check_report(fabric: RealFabric) -> None:
    report = json.loads(fabric.report())
    count = report["kernel_frames"]
    assert count["sent"] > 0
    assert count["sent"] == count["delivered"] + count["dropped"] + count["in_flight"]
    assert (report["drops"]["lossless"], report["drops"]["link"], report["violations"]) == (0, 0, [])
    fidelity = report["fidelity"]
    assert (fidelity["socket_drops"], fidelity["overflow"], fidelity["refused"]) == (0, 0, {})


def check_all(topology: str, dilation: int) -> None:
    with running(topology, dilation) as (plan, fabric):
        since = time.monotonic()
        check_ping(plan, dilation)
        check_tcp(fabric, since)
        check_report(fabric)


@isolated
def test_ping_and_tcp_cross_a_switch() -> None:
    check_all("pair:rate=100M", 1)


@isolated
def test_ping_and_tcp_cross_a_switch_in_slow_motion() -> None:
    check_all("pair:rate=10G", 100)


@isolated
def test_ping_and_tcp_cross_two_data_centres() -> None:
    check_all("two-dc:rate=10G", 100)


@isolated
def test_ping_at_full_rate() -> None:
    with running("pair:rate=100G", 1) as (plan, fabric):
        check_ping(plan, 1)
        check_report(fabric)


@isolated
def test_a_switch_never_floods() -> None:
    def packet_socket() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind(("eth1", 3))
        made.settimeout(10)
        return made

    with running("pair:rate=10G", 100) as (plan, fabric):
        sender, watcher = inside(LAB, "a1", packet_socket), inside(LAB, "b1", packet_socket)
        macs = {station["name"]: bytes.fromhex(station["mac"].replace(":", "")) for station in plan["stations"][2:]}
        strangers = [bytes.fromhex("02feedfeed01"), b"\xff" * 6, bytes.fromhex("01005e000001")]
        for destination in (*strangers, macs["b1"]):
            sender.send(destination + macs["a1"] + b"\x88\xb5" + bytes(100))
        # Frames stay in order, so none of those before it came along.
        assert watcher.recv(65536)[:12] == macs["b1"] + macs["a1"]
        report = json.loads(fabric.report())
        drops = report["ports"]["leaf:eth1"]["priorities"]["0"]["drops"]
        assert {cause: count for cause, count in drops.items() if count} == {"unroutable": len(strangers)}
        assert report["kernel_frames"] == {"sent": 4, "delivered": 1, "dropped": 3, "in_flight": 0}


@isolated
def test_the_emulated_nic_keeps_its_pace_while_the_kernel_floods() -> None:
    topology, dilation = "pair:rate=100G", 1000
    with running(topology, dilation) as (plan, fabric):
        lab, experiment = load_lab(f"{topology},name={LAB}"), new_experiment("pair", "permutation")
        schedule = COLLECTIVES["permutation"].schedule(Shape(2, 1 << 21, payload=False))
        workload = json.dumps(compile_workload(lab, experiment, schedule))

        def duration_ps() -> int:
            fabric.load(workload)
            deadline = time.monotonic() + 30
            while True:
                fabric.advance(50)
                report = json.loads(fabric.report())
                finished = [rank["finish_ps"] for rank in report["ranks"]]
                if None not in finished:
                    return int(max(finished) - report["start_ps"])
                assert time.monotonic() < deadline, report

        def frames_of_the_kernel() -> int:
            priorities = json.loads(fabric.report())["ports"]["leaf:eth1"]["priorities"]
            return int(priorities["0"]["frames_rx"]) if "0" in priorities else 0

        alone_ps, before = duration_ps(), frames_of_the_kernel()
        address = plan["stations"][3]["ip"]
        flood = inside(LAB, "a1", lambda: subprocess.Popen([sys.executable, "-c", FLOOD.format(address)]))
        try:
            while frames_of_the_kernel() < before + 100:
                assert flood.poll() is None
            before = frames_of_the_kernel()
            together_ps = duration_ps()
            assert frames_of_the_kernel() > before + 100
        finally:
            flood.kill()
            flood.wait()
        assert abs(together_ps - alone_ps) < alone_ps // 100
        check_report(fabric)
