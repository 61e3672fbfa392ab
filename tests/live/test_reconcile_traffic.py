"""Links under traffic go, move, shrink and grow: what was sent arrives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed._dataplane import RealFabric
from testbed.agent import data_plane
from testbed.agent.data_plane import lead_over, open_lab
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.progress import BuildProgress
from testbed.run.fidelity import FidelityBounds, judge_fidelity
from tests.live.machine import Machine, private_machine, wait_for
from tests.live.netns_lab import isolated

LAB = "moves"
LARGE, SMALL = 4200, 1500
SPAN, OTHER_SPAN = ("leaf-a:eth9", "leaf-b:eth9"), ("leaf-a:eth8", "leaf-b:eth9")
HOME, ELSEWHERE = ("a1:eth1", "leaf-a:eth1"), ("a1:eth1", "leaf-b:eth2")
GUEST = ("c1:eth1", "leaf-a:eth3")

# Both go on until they are told to end, and say then how many different datagrams they had. One that the kernel refuses was
# not sent; one that is too long for the interface goes in pieces (IP_MTU_DISCOVER, 10, is off).
SENDER = """
import signal, socket, time
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.IPPROTO_IP, 10, 0)
sent = 0
while not ending:
    try:
        out.sendto(sent.to_bytes(8, "big") + bytes(2992), ("b1", 9000))
        sent += 1
    except OSError:
        pass
    time.sleep(0.002)
print(sent)
"""
# It has heard all when nothing has come for longer than the span takes. Its buffer (SO_RCVBUFFORCE, 33) holds all of it.
RECEIVER = """
import signal, socket
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
heard.settimeout(5)
heard.bind(("", 9000))
seen = set()
while True:
    try:
        datagram, sender = heard.recvfrom(65536)
        seen.add((sender, datagram[:8]))
    except TimeoutError:
        if ending:
            break
print(len(seen))
"""

THREE_DATAGRAMS = """
import socket
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(3):
    out.sendto(bytes(100), ("b1", 9000))
"""


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def deploy(machine: Machine, span: tuple[str, str], home: tuple[str, str], mtu: int, *more: tuple[str, str]) -> Any:
    """Make the lab one with this span of 100 km, a1 at home there, this MTU and such links more; return what was said of it."""
    lengths = {span: "100km"}
    links = [home, ("b1:eth1", "leaf-b:eth1"), span, *more]
    names = sorted({end.partition(":")[0] for link in links for end in link})
    topology = {
        "defaults": {"mtu": mtu},
        "nodes": {name: {"kind": "switch" if name.startswith("leaf") else "host"} for name in names},
        "links": [{"endpoints": list(link), "length": lengths.get(link, "20m")} for link in links],
    }
    path = machine.directory / "lab.yaml"
    path.write_text(json.dumps({"name": LAB, "topology": topology}))
    return json.loads(machine.ok("deploy", "-t", str(path), "--dilation", "1000", "--format", "json"))


def start(machine: Machine, node: str, program: str) -> subprocess.Popen[str]:
    return machine.start("exec", "--name", LAB, node, "--", "python3", "-c", program)


def end(process: subprocess.Popen[str]) -> int:
    """Let a program in a node end, and return what it counted."""
    assert process.poll() is None, process.communicate()
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    return int(process.communicate(timeout=60)[0])


def await_traffic(machine: Machine) -> None:
    """Wait until the span is full of frames for b1; counters begin at zero with each change."""

    def reached() -> int:
        priorities = machine.labs()[0]["ports"]["leaf-b:eth1"]["priorities"]
        return int(priorities.get("0", {}).get("frames_tx", 0))

    wait_for(lambda: reached() > 100)


def test_what_was_sent_arrives_though_its_link_goes(machine: Machine) -> None:
    deploy(machine, SPAN, HOME, LARGE, GUEST)
    receiver = start(machine, "b1", RECEIVER)
    senders = [start(machine, node, SENDER) for node in ("a1", "c1")]
    await_traffic(machine)
    answers = [deploy(machine, OTHER_SPAN, HOME, LARGE)]  # the span has another port, and c1 is gone
    guest = int(senders[1].communicate(timeout=60)[0])
    await_traffic(machine)
    answers.append(deploy(machine, OTHER_SPAN, HOME, SMALL))
    assert "mtu 1500" in machine.ok("exec", "--name", LAB, "leaf-a", "--", "ip", "link", "show", "eth8")
    await_traffic(machine)
    answers.append(deploy(machine, OTHER_SPAN, ELSEWHERE, LARGE))
    await_traffic(machine)
    sent = guest + end(senders[0])
    assert [answer["lost"] for answer in answers] == [[], [], []]
    assert end(receiver) == sent > 600


def plan_of(spec: str) -> Any:
    """Return the plan of a lab without netem."""
    settings = new_experiment(spec, "all_reduce").with_overrides(["emulation=native"])
    return json.loads(json.dumps(compile_fabric(load_lab(spec), settings)))


@isolated
def test_what_cannot_arrive_in_time_is_counted() -> None:
    """The span takes longer than a change waits."""
    driver = NetnsDriver()
    plan = plan_of("two-dc:hosts=1,name=slow")
    moved = json.loads(json.dumps(plan).replace('"eth2"', '"eth7"'))
    present = open_lab(driver, RealFabric, plan, [], 100_000, None, BuildProgress())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_plane, "REST_S", 0.3)
        driver.run_in("slow", "a1", ["python3", "-c", THREE_DATAGRAMS], 20)
        wait_for(lambda: json.loads(present.fabric.report())["kernel_frames"]["in_flight"] == 3)
        assert lead_over(driver, present, moved, [], None, BuildProgress()) == [
            {"port": None, "cause": "not arrived in time", "frames": 3}
        ]
    present.close()
    driver.destroy("slow")


@isolated
def test_frames_too_long_for_a_link_are_counted_where_they_were_to_leave() -> None:
    driver = NetnsDriver()
    plan = plan_of("two-dc:hosts=1,name=narrow,length=1km")
    names = [node["name"] for node in plan["nodes"]]
    (span,) = [link for link in plan["links"] if {names[link["a"][0]], names[link["b"][0]]} == {"border-a", "border-b"}]
    span["mtu_bytes"] = SMALL
    present = open_lab(driver, RealFabric, plan, [], 1000, None, BuildProgress())

    def report() -> Any:
        return json.loads(present.fabric.report())

    def send(size: int) -> None:
        program = THREE_DATAGRAMS.replace("bytes(100)", f"bytes({size})")
        driver.run_in("narrow", "a1", ["python3", "-c", program], 20)

    send(3000)
    refused = {"border-a:eth2": 3}
    wait_for(lambda: report()["fidelity"]["refused"] == refused)
    (reason,) = [text for text in judge_fidelity(report()["fidelity"], FidelityBounds()) if "refused" in text]
    assert "at border-a:eth2 (too long for the MTU, or the interface is down) is 3" in reason
    # Where somebody makes the far end alone smaller, the kernel does not say why: the first is tried for a while.
    driver.run_in("narrow", "b1", ["ip", "link", "set", "eth1", "mtu", "1000"], 20)
    send(1300)
    send(500)
    wait_for(lambda: report()["fidelity"]["refused"] == refused | {"leaf-b:eth1": 3})
    wait_for(lambda: report()["ports"]["leaf-b:eth1"]["priorities"]["0"]["frames_tx"] == 6)
    heard = driver.run_in("narrow", "b1", ["cat", "/sys/class/net/eth1/statistics/rx_packets"], 20)
    assert heard.stdout == "3\n"
    # A deploy makes the interface what it was, and counters begin at zero.
    assert lead_over(driver, present, plan, [], None, BuildProgress()) == []
    assert report()["fidelity"]["refused"] == {}
    send(1300)
    wait_for(lambda: report()["kernel_frames"]["delivered"] >= 3)
    assert report()["fidelity"]["refused"] == {}
    present.close()
    driver.destroy("narrow")
