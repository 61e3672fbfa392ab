"""What the netns driver builds on the real kernel: it reads back as planned, and carries frames.

Each test runs in a child process with a mount namespace and a /run of its own (see `isolated`).
"""

import ctypes
import errno
import fcntl
import os
import random
import select
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.drivers.netns import NetnsDriver
from testbed.errors import DriverError
from testbed.machine import doctor
from testbed.system import ipv4, netlink, qdisc
from tests.live.netns_lab import inside, isolated, make_plan, snapshot

pytestmark = pytest.mark.usefixtures("require_root")

ETHERTYPE = 0x88B5  # IEEE 802 local experimental


def packet_socket(lab: str, node: str, interface: str) -> socket.socket:
    def work() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind((interface, 3))
        made.settimeout(30)
        return made

    return inside(lab, node, work)


def udp_socket(lab: str, node: str, address: str) -> socket.socket:
    def work() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 7000))
        made.settimeout(30)
        return made

    return inside(lab, node, work)


def old_offload(made: socket.socket, interface: str, command: int) -> int:
    """Ask for one offload with a request of its own, not with the one that the driver uses."""
    value = ctypes.create_string_buffer(struct.pack("=II", command, 99), 8)
    fcntl.ioctl(made, 0x8946, struct.pack("=16sQ16x", interface.encode(), ctypes.addressof(value)))
    return int.from_bytes(value.raw[4:], "little")


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


@isolated
def test_what_is_built_reads_back_as_planned() -> None:
    attachments = NetnsDriver().deploy(make_plan("live", hosts=3, mtu_bytes=9216), dilation=1000)
    assert [(entry["node"], entry["port"], entry["interface"]) for entry in attachments] == [
        *[(f"h{n}", "eth1", "eth1") for n in range(3)],
        *[("s0", f"eth{n}", f"eth{n}") for n in (1, 2, 3)],
    ]
    assert attachments[0]["netns"] == "/run/netns/testbed-live-h0"
    for number in range(3):
        with inside("live", f"h{number}", netlink.Netlink) as control:
            lo, host = netlink.read_links(control)
            assert (lo.alias, lo.flags & netlink.IFF_UP) == (f"testbed:live:h{number}", netlink.IFF_UP)
            assert (host.name, host.mac, host.mtu_bytes) == ("eth1", f"02:00:01:00:00:{number:02x}", 9216)
            assert host.flags & netlink.IFF_UP
            assert host.flags & netlink.IFF_NOARP
            assert ipv4.read_addresses(control) >= {(host.index, f"198.19.0.{number + 1}", 15)}
            others = [other for other in range(3) if other != number]
            assert ipv4.read_neighbours(control) == {
                (host.index, f"198.19.0.{other + 1}", f"02:00:01:00:00:{other:02x}") for other in others
            }
            assert qdisc.read_shaped_rate(control, host.index) == 100_000_000
    with inside("live", "s0", netlink.Netlink) as control:
        assert [(link.name, link.mac) for link in netlink.read_links(control)[1:]] == [
            (f"eth{n + 1}", f"02:00:00:00:03:{n:02x}") for n in range(3)
        ]
        assert {address for index, address, _prefix in ipv4.read_addresses(control) if index != 1} == set()
        assert ipv4.read_neighbours(control) == set()


@isolated
def test_no_offload_is_on_and_no_other_protocol_speaks() -> None:
    NetnsDriver().deploy(make_plan("live"))
    for node in ("h0", "s0"):
        made = packet_socket("live", node, "eth1")
        for command in (0x16, 0x1E, 0x23, 0x2B):  # transmit checksum, TSO, GSO, GRO
            assert old_offload(made, "eth1", command) == 0, (node, hex(command))
        made.close()

        def settings() -> list[str]:
            names = ("ipv6/conf/eth1/disable_ipv6", "ipv6/conf/lo/disable_ipv6", "ipv4/ip_forward")
            return [Path(f"/proc/sys/net/{name}").read_text().strip() for name in names]

        assert inside("live", node, settings) == ["1", "1", "0"]


@isolated
def test_a_frame_sent_on_one_end_arrives_at_the_other() -> None:
    NetnsDriver().deploy(make_plan("live", hosts=2, switches=2))
    for a, b in ((("h0", "eth1"), ("s0", "eth1")), (("s0", "eth2"), ("s1", "eth2"))):
        left, right = packet_socket("live", *a), packet_socket("live", *b)
        for sender, receiver in ((left, right), (right, left)):
            frame = bytes.fromhex("0180c2000001 020000000009 8808 0101 0008") + bytes(46)
            large = b"\x02" * 12 + ETHERTYPE.to_bytes(2, "big") + bytes(range(250)) * 16
            for sent in (frame, large):
                sender.send(sent)
                assert receiver.recv(65536) == sent
        left.close()
        right.close()


@isolated
def test_hosts_reach_each_other_without_address_resolution() -> None:
    NetnsDriver().deploy(make_plan("live", hosts=2, switches=0))
    a, b = udp_socket("live", "h0", "198.19.0.1"), udp_socket("live", "h1", "198.19.0.2")
    watcher = packet_socket("live", "h1", "eth1")
    for size in (1, 4172):
        a.sendto(b"x" * size, ("198.19.0.2", 7000))
        assert b.recv(65536) == b"x" * size
        # No address resolution went ahead of it: the first frame seen is the datagram, with the right addresses.
        assert watcher.recv(65536)[:14].hex() == "020001000001" + "020001000000" + "0800"


@isolated
def test_tcp_crosses_a_switch_made_of_packet_sockets() -> None:
    NetnsDriver().deploy(make_plan("live"), dilation=1000)
    ports = [packet_socket("live", "s0", "eth1"), packet_socket("live", "s0", "eth2")]
    stop, stopping = os.pipe()

    def forward() -> None:
        watched: list[Any] = [*ports, stop]
        while stop not in (ready := select.select(watched, [], [])[0]):
            for port in ready:
                ports[port is ports[0]].send(port.recv(65536))

    def listen() -> socket.socket:
        return socket.create_server(("198.19.0.2", 7000))

    forwarder = threading.Thread(target=forward)
    forwarder.start()
    try:
        server = inside("live", "h1", listen)
        client = inside("live", "h0", lambda: socket.create_connection(("198.19.0.2", 7000), timeout=20))
        accepted, _address = server.accept()
        accepted.settimeout(20)
        payload = random.Random(7).randbytes(500_000)
        sender = threading.Thread(target=client.sendall, args=(payload,))
        sender.start()
        received = b""
        while len(received) < len(payload):
            received += accepted.recv(1 << 20)
        sender.join()
        assert received == payload
    finally:
        os.close(stopping)
        forwarder.join()


@isolated
def test_the_kernel_never_answers_for_the_emulated_nic() -> None:
    NetnsDriver().deploy(make_plan("live"))
    wire = packet_socket("live", "s0", "eth1")  # h0's switch port
    mac, switch = bytes.fromhex("020001000000"), bytes.fromhex("020000000099")
    nic, station, asker = (socket.inet_aton(f"198.{part}") for part in ("18.0.1", "19.0.1", "19.0.2"))

    def echo(destination: bytes, target: bytes) -> bytes:
        icmp = struct.pack("!BBHHH", 8, 0, 0, 7, 7) + bytes(32)
        icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0, asker, target)
        header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
        return destination + switch + b"\x08\x00" + header + icmp

    for address in (nic, station):
        request = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, switch, asker, bytes(6), address)
        wire.send(b"\xff" * 6 + switch + b"\x08\x06" + request)
    wire.send(echo(bytes.fromhex("020000000000"), nic))
    wire.send(echo(bytes.fromhex("020000000000"), station))  # right address, but the NIC's MAC
    wire.send(echo(mac, nic))
    wire.send(echo(mac, station))
    frame = wire.recv(65536)
    # Frames stay in order, so the first that comes back answers the last one sent: nothing answered the others.
    assert (frame[6:12], frame[12:14], frame[34], frame[26:30]) == (mac, b"\x08\x00", 0, station)


@isolated
def test_shaping_limits_what_the_kernel_sends() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live", hosts=2, switches=0), dilation=1)
    with inside("live", "h0", netlink.Netlink) as control:
        assert qdisc.read_shaped_rate(control, 101) == 100_000_000_000
    rate_bps, count, size = 40_000_000, 100, 4000
    driver.shape("live", "h0", "eth1", rate_bps)
    a, b = udp_socket("live", "h0", "198.19.0.1"), udp_socket("live", "h1", "198.19.0.2")
    start = time.monotonic_ns()
    for _ in range(count):
        a.sendto(bytes(size), ("198.19.0.2", 7000))
        b.recv(65536)
    elapsed_ns = time.monotonic_ns() - start
    bucket_bytes = 2 * (4200 + 14) + size  # a frame may leave as long as the bucket is not empty
    assert elapsed_ns >= (count * size - bucket_bytes) * 8 * 1_000_000_000 // rate_bps
    driver.shape("live", "h0", "eth1", 0)
    with inside("live", "h0", netlink.Netlink) as control:
        assert qdisc.read_shaped_rate(control, 101) is None
        assert qdisc.read_qdiscs(control)[101].kind == "noqueue"
    driver.shape("live", "h0", "eth1", rate_bps)
    driver.shape("live", "h0", "eth1", 2 * rate_bps)
    with inside("live", "h0", netlink.Netlink) as control:
        assert qdisc.read_shaped_rate(control, 101) == 2 * rate_bps
        qdisc.set_qdisc(control, 101, qdisc.Qdisc("pfifo", (64).to_bytes(4, "little"), 0x70000))
    driver.deploy(make_plan("live", hosts=2, switches=0), dilation=1000)  # whatever was put there by hand
    with inside("live", "h0", netlink.Netlink) as control:
        assert qdisc.read_shaped_rate(control, 101) == 100_000_000
    with pytest.raises(DriverError) as caught:
        driver.shape("live", "h0", "eth7", rate_bps)
    assert caught.value.errno == errno.ENODEV


@isolated
def test_frames_of_the_emulated_nic_go_unshaped_and_are_seen() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live"))
    driver.shape("live", "h0", "eth1", 80_000)
    nic, stack, watcher, wire = (packet_socket("live", node, "eth1") for node in ("h0", "h0", "h0", "s0"))
    nic.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, qdisc.SHAPER_HANDLE)
    header = b"\x02" * 12 + ETHERTYPE.to_bytes(2, "big")
    for _ in range(20):  # a burst of some frames leaves at once, the rest would take eight seconds
        stack.send(header + b"s" + bytes(4000))
    start = time.monotonic_ns()
    for number in range(200):
        frame = header + b"n" + number.to_bytes(2, "big") + bytes(4000)
        nic.send(frame)
        for listener in (wire, watcher):
            while (seen := listener.recv(65536))[14:15] == b"s":
                continue
            assert seen == frame
    # At the shaped rate they would take 80 seconds.
    assert time.monotonic_ns() - start < 20_000_000_000


@isolated
def test_memory_links_have_no_interface() -> None:
    plan = make_plan("live", hosts=2, switches=2)
    plan["links"][-1]["medium"] = "memory"
    attachments = NetnsDriver().deploy(plan)
    assert [(entry["node"], entry["port"]) for entry in attachments] == [
        ("h0", "eth1"), ("h1", "eth1"), ("s0", "eth1"), ("s1", "eth1"),
    ]  # fmt: skip
    assert inside("live", "s0", lambda: [name for _index, name in socket.if_nameindex()]) == ["lo", "eth1"]


@isolated
def test_programs_run_inside_a_node() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live"))
    assert driver.exec_in("live", "h0", ["sh", "-c", "grep -q eth1: /proc/net/dev && exit 7"]) == 7
    assert driver.exec_in("live", "h0", ["sh", "-c", "kill -KILL $$"]) == 128 + signal.SIGKILL
    for node, program in (("h0", "no-such-program"), ("h9", "true")):
        with pytest.raises(DriverError) as caught:
            driver.exec_in("live", node, [program])
        assert caught.value.errno == errno.ENOENT


@isolated
def test_the_doctor_finds_what_the_kernel_has_and_leaves_no_trace() -> None:
    before = snapshot()
    checks = {check.name: check for check in doctor.checks()}
    assert snapshot() == before
    for name in ("root", "kernel", "netns", "veth", "AF_PACKET", "htb"):
        assert checks[name].ok, checks[name]
    # tc asks the same question by another road.
    NetnsDriver().deploy(make_plan("live"))
    command = ["tc", "qdisc", "add", "dev", "eth1", "root", "netem", "delay", "1ms"]
    assert checks["netem"].ok == (NetnsDriver().exec_in("live", "s0", command) == 0)
    assert doctor.has_netem() == checks["netem"].ok
    os.setresuid(65534, 65534, 65534)
    unprivileged = {check.name: check for check in doctor.checks()}
    for name in ("root", "netns", "veth", "AF_PACKET", "htb", "netem"):
        assert not unprivileged[name].ok
        assert "root" in unprivileged[name].detail
