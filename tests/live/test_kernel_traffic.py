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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from testbed._dataplane import RealFabric
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.report.live import lab_words
from testbed.run.fidelity import FidelityBounds
from testbed.traffic import COLLECTIVES
from testbed.traffic.collective import Shape
from tests.live.data_plane import forwarding
from tests.live.netns_lab import inside, isolated

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
    with forwarding(plan, dilation) as fabric:
        yield plan, fabric


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
    match = re.search(r"= ([\d.]+)/", text)
    assert match is not None, text
    least_ms, expected_ms = float(match[1]), 2 * path_delay_ps(plan, "a1", "b1") * dilation / 1e9
    assert expected_ms <= least_ms < expected_ms + SLACK_MS


def held_s(fabric: RealFabric, since: float) -> float:
    """Return for how long the data plane has held nominal time back, because the machine was busy elsewhere."""
    return float(json.loads(fabric.report())["fidelity"]["held_share"]) * (time.monotonic() - since)


def check_tcp(fabric: RealFabric, since: float) -> None:
    """Let TCP run; it must fill half of what the links carried in that time, and no more than that.

    Where time stood still for so long that a run would be untrusted, TCP saw round trips of every length, and an eighth will do.
    """
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
    share = 8 if held_share > FidelityBounds().held_share else 2
    assert received_bps >= SHAPED_BPS * (1 - held_share) / share


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
def test_tcpdump_listens_at_hosts_and_switches() -> None:
    with running("pair:rate=10G", 100):
        for node, port in (("b1", "eth1"), ("leaf", "eth1")):
            command = ("timeout", "30", "tcpdump", "-n", "-i", port, "-c", "2", "icmp")
            ping = inside(LAB, "a1", lambda: subprocess.Popen(["ping", "-q", "-i", "0.1", "198.19.0.2"]))
            try:
                assert "ICMP echo request" in output(node, *command)
            finally:
                ping.kill()
                ping.wait()


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
        strangers = [bytes.fromhex("02feedfeed01"), b"\xff" * 6, bytes.fromhex("01005e000001"), macs["a1"]]
        for destination in (*strangers, macs["b1"]):
            sender.send(destination + macs["a1"] + b"\x88\xb5" + bytes(100))
        # Frames stay in order, so none of those before it came along.
        assert watcher.recv(65536)[:12] == macs["b1"] + macs["a1"]
        report = json.loads(fabric.report())
        drops = report["ports"]["leaf:eth1"]["priorities"]["0"]["drops"]
        assert {cause: count for cause, count in drops.items() if count} == {"unroutable": len(strangers)}
        assert report["kernel_frames"] == {"sent": 5, "delivered": 1, "dropped": 4, "in_flight": 0}


def send_to_many() -> None:
    """Send three datagrams to everybody in the network of the hosts, and two to a group."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("198.19.0.1"))
        for address in ("198.19.255.255",) * 3 + ("239.1.2.3",) * 2:
            sender.sendto(bytes(100), (address, 9))


def check_sent_to_many(topology: str, switch: str) -> None:
    """A kernel that resolves no addresses sends a broadcast to its own one: the switch took it back to its sender."""
    with running(topology, 100) as (_, fabric):
        inside(LAB, "a1", send_to_many)
        report = settled(fabric, 5)
        drops = report["ports"][f"{switch}:eth1"]["priorities"]["0"]["drops"]
        assert {cause: count for cause, count in drops.items() if count} == {"unroutable": 5}
        assert report["kernel_frames"] == {"sent": 5, "delivered": 0, "dropped": 5, "in_flight": 0}


@isolated
def test_what_a_kernel_sends_to_many_ends_at_the_switch_and_is_counted() -> None:
    check_sent_to_many("pair:rate=10G", "leaf")


@isolated
def test_what_a_kernel_sends_to_many_crosses_no_span() -> None:
    check_sent_to_many("two-dc:rate=10G", "leaf-a")


def raw_socket() -> socket.socket:
    """Open what sends whole frames at a host's interface."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind(("eth1", 0))
    return made


def settled(fabric: RealFabric, sent: int) -> dict[str, Any]:
    """Return the report once the fate of so many frames of hosts' kernels is known."""
    deadline = time.monotonic() + 60
    while True:
        report: dict[str, Any] = json.loads(fabric.report())
        count, figures = report["kernel_frames"], report["fidelity"]
        lost = figures["socket_drops"] + sum(figures["kernel_drops"].values())
        if count["delivered"] + count["dropped"] + lost == sent:
            return report
        assert time.monotonic() < deadline, (count, figures)
        time.sleep(0.05)


def mac_of(plan: dict[str, Any], kind: str, name: str) -> bytes:
    (station,) = (station for station in plan["stations"] if (station["kind"], station["name"]) == (kind, name))
    return bytes.fromhex(station["mac"].replace(":", ""))


@isolated
def test_frames_that_a_nic_cannot_read_are_counted() -> None:
    frames = 42_800
    with running("pair:rate=10G", 10) as (plan, fabric):
        sender = inside(LAB, "a1", raw_socket)
        ends = mac_of(plan, "nic", "b1") + mac_of(plan, "kernel", "a1")
        cut_short = ends + bytes.fromhex("0800450000540000400040110000c6120001")
        for sent in range(1, frames + 1):
            sender.send(cut_short)
            if sent % 2_000 == 0:
                settled(fabric, sent)  # a machine that is busy elsewhere reads as many in the end
        report = settled(fabric, frames)
        figures = report["fidelity"]
        read = frames - figures["socket_drops"] - sum(figures["kernel_drops"].values())
        assert report["ports"]["b1:eth1"]["priorities"]["0"]["drops"]["malformed"] == read - report["drops"]["lossy"]
        assert report["drops"]["malformed"] > frames // 2 and report["drops"]["lossless"] == 0


@isolated
def test_a_packet_whose_check_sum_is_wrong_is_counted_as_a_packet() -> None:
    """Its headers are sound, so that switches take it for a NIC's; the books must balance all the same."""
    head = "4518003c0001400040110000c6120001c6120002" + "c00012b700280000" + "1140ffff0000001100000000" + "00000001"
    with running("pair:rate=10G", 10) as (plan, fabric):
        sender = inside(LAB, "a1", raw_socket)
        ends = mac_of(plan, "nic", "b1") + mac_of(plan, "kernel", "a1")
        frame = (ends + bytes.fromhex("0800" + head)).ljust(74, b"\0")
        sender.send(frame)
        deadline = time.monotonic() + 20
        while json.loads(fabric.report())["drops"]["malformed"] < 1:
            assert time.monotonic() < deadline
        report = json.loads(fabric.report())
        assert report["violations"] == []
        for tally in ("conservation", "kernel_frames"):
            count = report[tally]
            assert count["sent"] == count["delivered"] + count["dropped"] + count["in_flight"], (tally, count)


@isolated
def test_kernel_traffic_has_no_way_into_a_lossless_priority() -> None:
    with running("pair:rate=10G", 100) as (_plan, fabric):
        for dscp in (24, 32):
            assert " 0% packet loss" in output("a1", "ping", "-c", "3", "-i", "0.2", "-Q", str(dscp << 2), "b1")
        ports = json.loads(fabric.report())["ports"]
        for port in ("leaf:eth1", "leaf:eth2"):
            counters = ports[port]["priorities"]
            figures = {number: (counters[number]["demoted"], counters[number]["frames_rx"]) for number in counters}
            # DSCP 32 asks for priority 4, which is lossy here, and is left alone.
            assert figures == {"0": (0, 3), "3": (3, 0), "4": (0, 3)}
        check_report(fabric)


@isolated
def test_what_an_overloaded_emulator_loses_is_its_own_loss() -> None:
    """Between two switches the kernel hands frames over slowly, so that nominal time is held; a host goes on sending."""
    frames = 3_000
    with running("two-dc:rate=10G,length=1km", 100) as (plan, fabric):
        slow = ("tbf", "rate", "80mbit", "burst", "5000", "limit", "10mb")
        output("border-a", "tc", "qdisc", "add", "dev", "eth2", "root", *slow)
        sender = inside(LAB, "a1", raw_socket)
        ends = mac_of(plan, "kernel", "b1") + mac_of(plan, "kernel", "a1")
        NetnsDriver().shape(LAB, "a1", "eth1", 0)
        for _ in range(frames):
            sender.send((ends + b"\x88\xb5").ljust(4_000, b"\0"))
        report = settled(fabric, frames)
        figures = report["fidelity"]
        assert figures["kernel_drops"].keys() == {"a1:eth1"}
        assert report["drops"] == dict.fromkeys(report["drops"], 0)
        assert "for which it was too slow at a1:eth1" in lab_words({"fidelity": figures})


def counted(node: str) -> dict[str, int]:
    """Return what the kernel of a node has counted of UDP (RFC 4113)."""
    names, values = (line.split()[1:] for line in output(node, "grep", "^Udp:", "/proc/net/snmp").splitlines())
    return dict(zip(names, map(int, values), strict=True))


def datagram_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@isolated
def test_every_datagram_that_a_program_misses_is_in_a_counter() -> None:
    """What the emulator had no room for is its own loss; what a receiver did not fetch in time stands in its own kernel."""
    datagrams, port = 3_000, 7000
    with running("two-dc:rate=10G,length=1km", 100) as (plan, fabric):
        slow = ("tbf", "rate", "80mbit", "burst", "5000", "limit", "10mb")
        output("border-a", "tc", "qdisc", "add", "dev", "eth2", "root", *slow)
        NetnsDriver().shape(LAB, "a1", "eth1", 0)
        (address,) = (
            station["ip"] for station in plan["stations"] if (station["kind"], station["name"]) == ("kernel", "b1")
        )
        sender, receiver = inside(LAB, "a1", datagram_socket), inside(LAB, "b1", datagram_socket)
        receiver.bind(("", port))
        receiver.setblocking(False)
        for number in range(datagrams):
            sender.sendto(number.to_bytes(4).ljust(3_900, b"\0"), (address, port))
        dropped = settled(fabric, datagrams)["fidelity"]["kernel_drops"]["a1:eth1"]
        received, deadline = 0, time.monotonic() + 60
        # What is written to an interface may wait there, until the kernel of a busy machine has dealt with it.
        while received + (figures := counted("b1"))["RcvbufErrors"] + dropped < datagrams:
            assert time.monotonic() < deadline, (received, figures, dropped)
            with suppress(BlockingIOError):
                while receiver.recv(4_000):
                    received += 1
        assert 0 < received < datagrams and figures["RcvbufErrors"] > 0 and dropped > 0
        assert received + figures["RcvbufErrors"] + dropped == datagrams
        assert (figures["InDatagrams"], counted("a1")["OutDatagrams"]) == (received, datagrams)


@isolated
def test_the_emulated_nic_keeps_its_pace_while_the_kernel_floods() -> None:
    topology, dilation = "pair:rate=100G", 1000
    with running(topology, dilation) as (plan, fabric):
        lab, experiment = load_lab(f"{topology},name={LAB}"), new_experiment("pair", "permutation")
        schedule = COLLECTIVES["permutation"].schedule(Shape(2, 1 << 23, payload=False))
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
        # A second of wall time; what the kernel sends would take half of the line.
        assert abs(together_ps - alone_ps) < alone_ps // 20
        check_report(fabric)
