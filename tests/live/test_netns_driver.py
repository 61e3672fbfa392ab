"""The netns driver on the real kernel: what it builds reads back as asked, and what it removes leaves no trace.

Each test runs in a child process with a mount namespace and a /run of its own: it can destroy all labs without touching
those of the machine, and can compare everything before and after.
"""

import ctypes
import errno
import fcntl
import functools
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from testbed import doctor, kernel, netlink
from testbed.drivers.netns import NetnsDriver
from testbed.errors import DriverError

pytestmark = pytest.mark.usefixtures("require_root")

KILLS = 24
T = TypeVar("T")
ETHERTYPE = 0x88B5  # IEEE 802 local experimental
libc = ctypes.CDLL(None, use_errno=True)


def isolated(test: Callable[[], None]) -> Callable[[], None]:
    """Run a test in a child process with a private /run; its traceback becomes the failure of the test."""

    @functools.wraps(test)
    def run() -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert libc.unshare(0x00020000) == 0, os.strerror(ctypes.get_errno())
                assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # recursively private
                while libc.umount2(b"/run/netns", 2) == 0:
                    pass  # what others unmount there meanwhile must not look like our doing
                assert libc.mount(b"test", b"/run", b"tmpfs", 0, None) == 0
                test()
                status = 0
            except BaseException:  # noqa: BLE001  reported by the parent
                os.write(writing, traceback.format_exc().encode()[-60_000:])
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            report = pipe.read()
        _pid, status = os.waitpid(child, 0)
        if status != 0:
            pytest.fail(report or f"the child ended with status {status}", pytrace=False)

    return run


def make_plan(lab: str, hosts: int = 2, switches: int = 1, **link: Any) -> dict[str, Any]:
    """Return a plan: `hosts` hosts shared out to `switches` switches in a row, all links alike."""
    nodes: list[dict[str, Any]] = [{"name": f"h{n}", "kind": "host", "ports": []} for n in range(hosts)]
    nodes += [{"name": f"s{n}", "kind": "switch", "ports": []} for n in range(switches)]

    def port(node: int) -> list[int]:
        number = len(nodes[node]["ports"])
        mac = f"02:00:00:00:{node:02x}:{number:02x}"
        nodes[node]["ports"].append({"name": f"eth{number + 1}", "mac": mac, "rate_bps": 100_000_000_000})
        return [node, number]

    pairs = [(n, hosts + n % switches) for n in range(hosts)] if switches else [(0, 1)]
    pairs += [(hosts + n, hosts + n + 1) for n in range(switches - 1)]
    links = [{"a": port(a), "b": port(b), "medium": "veth", **link} for a, b in pairs]
    stations = []
    for n in range(hosts):
        place = {"node": n, "port": 0}
        stations.append({"name": f"h{n}", "kind": "nic", "mac": nodes[n]["ports"][0]["mac"], "ip": f"198.18.0.{n + 1}"})
        stations.append(
            {"name": f"h{n}", "kind": "kernel", "mac": f"02:00:01:00:00:{n:02x}", "ip": f"198.19.0.{n + 1}"}
        )
        stations[-2].update(place)
        stations[-1].update(place)
    return {"schema": 1, "lab": lab, "seed": 1, "stations": stations, "nodes": nodes, "links": links}


def snapshot() -> dict[str, Any]:
    """Return what a lab could leave behind: names, mounts, interfaces of this namespace, and the namespace itself."""
    names = sorted(os.listdir("/run/netns")) if os.path.exists("/run/netns") else []
    mounts = sorted(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    interfaces = sorted(name for _index, name in socket.if_nameindex())
    return {"names": names, "mounts": mounts, "interfaces": interfaces, "home": os.readlink("/proc/thread-self/ns/net")}


def inside(lab: str, node: str, work: Callable[[], T]) -> T:
    """Return what `work` returns in a thread inside a node."""

    def entered() -> T:
        kernel.enter(kernel.namespace_path(lab, node))
        return work()

    return kernel.in_thread(entered)


def packet_socket(lab: str, node: str, interface: str) -> socket.socket:
    def work() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind((interface, 3))
        made.settimeout(5)
        return made

    return inside(lab, node, work)


def udp_socket(lab: str, node: str, address: str) -> socket.socket:
    def work() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 7000))
        made.settimeout(5)
        return made

    return inside(lab, node, work)


def old_offload(made: socket.socket, interface: str, command: int) -> int:
    """Ask for one offload with a request of its own, not with the one that the driver uses."""
    value = ctypes.create_string_buffer(struct.pack("=II", command, 99), 8)
    fcntl.ioctl(made, 0x8946, struct.pack("=16sQ16x", interface.encode(), ctypes.addressof(value)))
    return int.from_bytes(value.raw[4:], "little")


def tbf_rate(qdisc: netlink.Qdisc) -> int:
    """Return the bit rate of a token bucket as the kernel reports it."""
    assert qdisc.kind == "tbf"
    options = netlink.attributes(qdisc.options, 0)
    (rate,) = struct.unpack_from("=I", options[1], 8)
    return 8 * (int.from_bytes(options[4], "little") if 4 in options else int(rate))


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
            assert netlink.read_addresses(control) >= {(host.index, f"198.19.0.{number + 1}", 15)}
            others = [other for other in range(3) if other != number]
            assert netlink.read_neighbours(control) == {
                (host.index, f"198.19.0.{other + 1}", f"02:00:01:00:00:{other:02x}") for other in others
            }
            assert tbf_rate(netlink.read_qdiscs(control)[host.index]) == 100_000_000
    with inside("live", "s0", netlink.Netlink) as control:
        assert [(link.name, link.mac) for link in netlink.read_links(control)[1:]] == [
            (f"eth{n + 1}", f"02:00:00:00:03:{n:02x}") for n in range(3)
        ]
        assert {address for index, address, _prefix in netlink.read_addresses(control) if index != 1} == set()
        assert netlink.read_neighbours(control) == set()


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
        assert tbf_rate(netlink.read_qdiscs(control)[101]) == 100_000_000_000
    rate_bps, count, size = 40_000_000, 100, 4000
    driver.shape("live", "h0", "eth1", rate_bps)
    a, b = udp_socket("live", "h0", "198.19.0.1"), udp_socket("live", "h1", "198.19.0.2")
    start = time.monotonic_ns()
    for _ in range(count):
        a.sendto(bytes(size), ("198.19.0.2", 7000))
        b.recv(65536)
    elapsed_ns = time.monotonic_ns() - start
    bucket_bytes = 2 * (4200 + 14)
    assert elapsed_ns >= (count * size - bucket_bytes) * 8 * 1_000_000_000 // rate_bps
    driver.shape("live", "h0", "eth1", 0)
    with inside("live", "h0", netlink.Netlink) as control:
        assert netlink.read_qdiscs(control).get(101, netlink.Qdisc("noqueue")).kind == "noqueue"
    with pytest.raises(DriverError) as caught:
        driver.shape("live", "h0", "eth7", rate_bps)
    assert caught.value.errno == errno.ENODEV


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
def test_deploy_and_destroy_leave_the_machine_as_it_was() -> None:
    driver = NetnsDriver()
    before = snapshot()
    driver.deploy(make_plan("live", hosts=4, switches=2))
    during = snapshot()
    assert during["interfaces"] == before["interfaces"]
    assert during["home"] == before["home"]
    assert len(during["names"]) == 6
    assert driver.destroy("live") == ["h0", "h1", "h2", "h3", "s0", "s1"]
    assert snapshot() == before
    assert driver.destroy("live") == []
    subprocess.run(["ip", "netns", "add", "other"], check=True)
    before = snapshot()
    driver.deploy(make_plan("live"))
    listing = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout.split()
    assert {"other", "testbed-live-h0", "testbed-live-s0"} <= set(listing)
    driver.destroy("live")
    assert snapshot() == before


@isolated
def test_deploying_twice_changes_nothing() -> None:
    driver, plan = NetnsDriver(), make_plan("live", hosts=3, switches=2)

    def identities() -> list[tuple[int, int]]:
        return [(os.stat(entry).st_dev, os.stat(entry).st_ino) for entry in sorted(Path("/run/netns").iterdir())]

    first = driver.deploy(plan, dilation=1000)
    before = identities()
    assert driver.deploy(plan, dilation=500) == first
    assert identities() == before
    with inside("live", "h0", netlink.Netlink) as control:
        assert tbf_rate(netlink.read_qdiscs(control)[101]) == 200_000_000
    assert driver.redeploy(plan) == first
    assert identities() != before


@isolated
def test_a_lab_that_differs_is_refused_and_left_alone() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live", hosts=2, switches=2))
    others = {name: make_plan("live", hosts=2, switches=2) for name in ("wiring", "mtu", "address", "mac")}
    first, second = others["wiring"]["links"][:2]
    first["b"], second["b"] = second["b"], first["b"]
    others["mtu"]["links"][0]["mtu_bytes"] = 1500
    others["address"]["stations"][1]["ip"] = "198.19.0.77"
    others["mac"]["stations"][1]["mac"] = "02:00:01:00:00:77"
    others["fewer"], others["more"] = make_plan("live", hosts=1, switches=1), make_plan("live", hosts=3, switches=2)
    before = snapshot()
    for name, plan in others.items():
        with pytest.raises(DriverError, match="differs from its plan") as caught:
            driver.deploy(plan)
        assert (caught.value.errno, caught.value.exit_code) == (errno.EEXIST, 3), name
        assert snapshot() == before
    assert inside("live", "h0", lambda: socket.if_nameindex()[1:]) == [(101, "eth1")]


@isolated
def test_a_failed_deploy_leaves_nothing() -> None:
    driver, before = NetnsDriver(), snapshot()
    with pytest.raises(DriverError, match=r"create link h0:eth1 - s0:eth1.*EINVAL"):
        driver.deploy(make_plan("live", mtu_bytes=70_000))
    assert snapshot() == before
    taken = make_plan("live", hosts=3)
    taken["nodes"][3]["ports"][1]["name"] = "eth1"
    with pytest.raises(DriverError) as caught:
        driver.deploy(taken)
    assert caught.value.errno == errno.EEXIST
    assert snapshot() == before


@isolated
def test_what_is_not_ours_is_never_touched() -> None:
    driver = NetnsDriver()
    subprocess.run(["ip", "netns", "add", "testbed-live-h0"], check=True)
    Path("/run/netns/testbed-live-s0").touch(mode=0)  # as `ip netns add` leaves it for a moment
    before = snapshot()
    with pytest.raises(DriverError, match="taken by something") as caught:
        driver.deploy(make_plan("live"))
    assert (caught.value.errno, caught.value.exit_code) == (errno.EEXIST, 3)
    assert driver.list_labs() == {}
    assert driver.destroy("live") == []
    assert driver.destroy_all() == {}
    assert snapshot() == before


@isolated
def test_labs_side_by_side_do_not_disturb_each_other() -> None:
    driver, before = NetnsDriver(), snapshot()
    longer = make_plan("one-h0", hosts=2, switches=2)
    for plan in (make_plan("one"), longer, make_plan("two")):
        driver.deploy(plan)
    driver.destroy("one")
    # Lab "one-h0" node "s0" and lab "one" node "h0-s0" ask for one name: the second is told so, the first stays.
    rival = make_plan("one")
    rival["nodes"][0]["name"] = "h0-s0"
    with pytest.raises(DriverError) as caught:
        driver.deploy(rival)
    assert caught.value.errno == errno.EEXIST
    assert driver.list_labs() == {"one-h0": ["h0", "h1", "s0", "s1"], "two": ["h0", "h1", "s0"]}
    assert driver.deploy(longer)
    assert driver.destroy_all() == {"one-h0": ["h0", "h1", "s0", "s1"], "two": ["h0", "h1", "s0"]}
    assert snapshot() == before


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
def test_destroy_ends_the_processes_inside_and_no_others() -> None:
    driver, before = NetnsDriver(), snapshot()
    driver.deploy(make_plan("live"))
    stubborn_code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"

    def start() -> list[subprocess.Popen[bytes]]:
        polite = subprocess.Popen(["sleep", "1000"])
        stubborn = subprocess.Popen([sys.executable, "-c", stubborn_code], stdout=subprocess.PIPE)
        spared = subprocess.Popen(["sleep", "1000"])
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == b"1\n"
        return [polite, stubborn, spared]

    polite, stubborn, spared = inside("live", "s0", start)
    outside = subprocess.Popen(["sleep", "1000"])
    try:
        driver.destroy("live", spare={spared.pid})
        assert polite.wait(5) == -signal.SIGTERM
        assert stubborn.wait(5) == -signal.SIGKILL
        assert spared.poll() is None
        assert outside.poll() is None
    finally:
        for process in (polite, stubborn, spared, outside):
            process.kill()
            process.wait()
    assert snapshot() == before


def run_and_kill(work: Callable[[], object], delay_ns: int) -> bool:
    """Fork a child that does `work`, kill it `delay_ns` later; return whether that found it at work."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"!")
        try:
            work()
        finally:
            os._exit(0)
    os.read(reading, 1)
    pidfd = os.pidfd_open(child)
    ended = select.select([pidfd], [], [], delay_ns / 1e9)[0]
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(child, 0)
    for descriptor in (reading, writing, pidfd):
        os.close(descriptor)
    return not ended


@isolated
def test_a_kill_at_any_moment_leaves_nothing_that_destroy_cannot_find() -> None:
    driver, plan, draw = NetnsDriver(), make_plan("live", hosts=6, switches=3), random.Random(7)
    before = snapshot()
    start = time.monotonic_ns()
    driver.deploy(plan)
    deploy_ns = time.monotonic_ns() - start
    start = time.monotonic_ns()
    driver.destroy_all()
    destroy_ns = time.monotonic_ns() - start
    at_work = 0
    for number in range(KILLS):
        if number % 3 == 2:
            driver.deploy(plan)
            at_work += run_and_kill(driver.destroy_all, draw.randrange(destroy_ns))
        else:
            at_work += run_and_kill(lambda: driver.deploy(plan), draw.randrange(deploy_ns))
        driver.destroy_all()
        assert snapshot() == before, f"kill {number}"
    assert at_work >= KILLS // 2, "most kills came too late to mean anything"


@isolated
def test_a_kill_on_either_side_of_naming_a_namespace_is_recovered() -> None:
    driver, plan, mount = NetnsDriver(), make_plan("live"), kernel._libc.mount

    def die_around(before_mount: bool) -> Callable[..., int]:
        def replacement(source: bytes, target: bytes, *rest: Any) -> int:
            if target.endswith(b"-h1"):
                if not before_mount:
                    mount(source, target, *rest)
                os.kill(os.getpid(), signal.SIGKILL)
            return int(mount(source, target, *rest))

        return replacement

    before = snapshot()
    for before_mount in (True, False):

        def work(early: bool = before_mount) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(kernel._libc, "mount", die_around(early))
                driver.deploy(plan)

        assert run_and_kill(work, 60_000_000_000) is False  # it dies by itself, long before
        assert snapshot()["names"] == ["testbed-live-h0", "testbed-live-h1"]
        assert driver.list_labs() == {"live": ["h0"] if before_mount else ["h0", "h1"]}
        assert driver.destroy("live") == (["h0"] if before_mount else ["h0", "h1"])
        assert snapshot() == before


@isolated
def test_without_privileges_the_error_says_so() -> None:
    before = snapshot()
    os.setresuid(65534, 65534, 65534)
    with pytest.raises(DriverError, match="needs root") as caught:
        NetnsDriver().deploy(make_plan("live"))
    assert (caught.value.errno, caught.value.exit_code) == (errno.EPERM, 3)
    assert NetnsDriver().list_labs() == {}
    assert snapshot()["names"] == before["names"]


@isolated
def test_the_doctor_finds_what_the_kernel_has_and_leaves_no_trace() -> None:
    before = snapshot()
    found = {check.name: check for check in doctor.checks()}
    assert snapshot() == before
    for name in ("root", "kernel", "netns", "veth", "AF_PACKET", "tbf"):
        assert found[name].ok, found[name]
    # tc asks the same question by another road.
    NetnsDriver().deploy(make_plan("live"))
    command = ["tc", "qdisc", "add", "dev", "eth1", "root", "netem", "delay", "1ms"]
    assert found["netem"].ok == (NetnsDriver().exec_in("live", "s0", command) == 0)
    assert doctor.has_netem() == found["netem"].ok
    os.setresuid(65534, 65534, 65534)
    unprivileged = {check.name: check for check in doctor.checks()}
    for name in ("root", "netns", "veth", "AF_PACKET", "tbf", "netem"):
        assert not unprivileged[name].ok
        assert "root" in unprivileged[name].detail
