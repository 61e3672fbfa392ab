"""Hosts whose kernels heed PFC (`kernel: lossless`): what they send on a lossless DSCP waits, and none of it is lost.

Each test runs in a child process with a mount namespace and a /run of its own (see `isolated`).
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed._dataplane import RealFabric
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from tests.live.data_plane import forwarding
from tests.live.netns_lab import inside, isolated

pytestmark = pytest.mark.usefixtures("require_root")

LAB = "heeding"
SENDERS = ("a", "b", "c")
LOSSLESS_TOS = 24 << 2
DATAGRAM_BYTES = 1_400
PATIENCE_S = 60


@contextmanager
def running(kernel: str, dilation: int, shaped: int | None = None) -> Iterator[tuple[dict[str, Any], RealFabric]]:
    """Deploy four hosts on a switch; kernels are shaped for a dilation of their own where one is given."""
    file = Path("/run/heeding.yaml")
    hosts = "\n".join(f"    {name}: {{kind: host}}" for name in (*SENDERS, "d"))
    links = "\n".join(
        f'    - {{endpoints: ["{name}:eth1", "s:eth{number}"]}}' for number, name in enumerate((*SENDERS, "d"), 1)
    )
    file.write_text(
        f"name: {LAB}\ntopology:\n  defaults: {{rate: 10G{kernel}}}\n  nodes:\n{hosts}\n    s: {{kind: switch}}\n"
        f"  links:\n{links}\n"
    )
    plan = {**compile_fabric(load_lab(str(file)), new_experiment(LAB, "incast")), "emulation": "native"}
    with forwarding(plan, dilation, shaped) as fabric:
        yield plan, fabric


def address_of(plan: dict[str, Any], host: str) -> str:
    """Return the address of a host's kernel."""
    (address,) = (entry["ip"] for entry in plan["stations"] if (entry["kind"], entry["name"]) == ("kernel", host))
    return str(address)


def opened(node: str, kind: socket.SocketKind, tos: int = LOSSLESS_TOS) -> socket.socket:
    """Open a socket inside a node."""
    made = inside(LAB, node, lambda: socket.socket(socket.AF_INET, kind))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    made.settimeout(PATIENCE_S)
    return made


def side_by_side(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def check_lossless(fabric: RealFabric) -> None:
    report = json.loads(fabric.report())
    assert (report["drops"]["lossless"], report["drops"]["lossy"], report["violations"]) == (0, 0, [])
    fidelity = report["fidelity"]
    assert fidelity["kernel_drops"] == {} and fidelity["socket_drops"] == 0
    ports = report["ports"]
    assert sum(ports[f"s:eth{number}"]["priorities"]["3"]["pause_tx"] for number in (1, 2, 3)) > 0
    assert sum(ports[f"s:eth{number}"]["priorities"]["3"]["demoted"] for number in (1, 2, 3)) == 0
    assert sorted(fidelity["kernel_gates"]) == sorted(f"{name}:eth1" for name in (*SENDERS, "d"))
    assert all(slowest_ns > 0 for slowest_ns in fidelity["kernel_gates"].values())


@isolated
def test_datagrams_of_an_incast_on_a_lossless_dscp_all_arrive() -> None:
    """Three senders fill the line of one receiver, whose switch pauses them; the gates of their kernels close meanwhile."""
    datagrams = 2_000
    with running(", kernel: lossless", 100) as (plan, fabric):
        receiver = opened("d", socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: what is under test is the way there
        receiver.bind(("", 7000))
        address = (address_of(plan, "d"), 7000)

        def send(node: str) -> None:
            with opened(node, socket.SOCK_DGRAM) as sender:
                for number in range(datagrams):
                    sender.sendto(f"{node} {number} ".encode().ljust(DATAGRAM_BYTES, b"."), address)

        arrived: dict[str, list[int]] = {node: [] for node in SENDERS}

        def receive() -> None:
            for _ in range(datagrams * len(SENDERS)):
                node, number, _ = receiver.recv(2_000).decode().split(" ", 2)
                arrived[node].append(int(number))

        side_by_side([threading.Thread(target=receive), *(threading.Thread(target=send, args=[n]) for n in SENDERS)])
        assert all(sorted(numbers) == list(range(datagrams)) for numbers in arrived.values())
        check_lossless(fabric)


@isolated
def test_both_ends_of_such_a_link_keep_frames_in_their_order() -> None:
    """Else frames of a program that moves to another processor overtake each other, which RoCE takes for loss."""
    with running(", kernel: lossless", 100):
        for node, port in (("a", "eth1"), ("s", "eth1"), ("s", "eth4")):
            path = f"/sys/class/net/{port}/queues/rx-0/rps_cpus"
            command = ["ip", "netns", "exec", f"testbed-{LAB}-{node}", "cat", path]
            mask = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            assert int(mask.replace(",", ""), 16).bit_count() == 1


@isolated
def test_tcp_of_an_incast_on_a_lossless_dscp_loses_no_frame() -> None:
    size = 3 << 20
    with running(", kernel: lossless", 100) as (plan, fabric):
        server = opened("d", socket.SOCK_STREAM)
        server.bind(("", 7000))
        server.listen()
        received = []

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                received.append(sum(map(len, iter(lambda: connection.recv(1 << 16), b""))))

        def send(node: str) -> None:
            with opened(node, socket.SOCK_STREAM) as sender:
                sender.connect((address_of(plan, "d"), 7000))
                sender.sendall(bytes(size))

        serving = [threading.Thread(target=serve) for _ in SENDERS]
        side_by_side([*serving, *(threading.Thread(target=send, args=[node]) for node in SENDERS)])
        assert received == [size] * len(SENDERS)
        check_lossless(fabric)


@isolated
def test_a_kernel_that_is_faster_than_nominal_time_is_held_and_goes_on() -> None:
    """Time goes so slowly that next to nothing leaves: a program that sends must block, and one on another priority need not."""
    with running(", kernel: lossless", 100_000, shaped=1) as (plan, fabric):
        address = (address_of(plan, "d"), 7000)
        sender = opened("a", socket.SOCK_DGRAM)
        sender.setblocking(False)

        def blocks() -> bool:
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                try:
                    sender.sendto(bytes(DATAGRAM_BYTES), address)
                except BlockingIOError:
                    time.sleep(0.05)
                    try:
                        sender.sendto(bytes(DATAGRAM_BYTES), address)
                    except BlockingIOError:
                        return True
            return False

        assert blocks()
        other = opened("a", socket.SOCK_DGRAM, tos=0)
        other.setblocking(False)
        for _ in range(100):
            other.sendto(bytes(DATAGRAM_BYTES), address)
        assert json.loads(fabric.report())["fidelity"]["kernel_drops"] == {}
        # Without a data plane nobody would open the gate any more.
        fabric.close()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                sender.sendto(bytes(DATAGRAM_BYTES), address)
                break
            except BlockingIOError:
                assert time.monotonic() < deadline, "the gate stayed closed"
                time.sleep(0.01)


@isolated
def test_a_kernel_that_does_not_heed_pauses_goes_on_a_lossy_priority() -> None:
    with running("", 100) as (plan, fabric):
        assert all("kernel_lossless" not in node for node in plan["nodes"])
        receiver, sender = opened("d", socket.SOCK_DGRAM), opened("a", socket.SOCK_DGRAM)
        receiver.bind(("", 7000))
        sender.sendto(b"on a lossy one", (address_of(plan, "d"), 7000))
        assert receiver.recv(100) == b"on a lossy one"
        report = json.loads(fabric.report())
        assert report["ports"]["s:eth1"]["priorities"]["3"]["demoted"] == 1
        assert report["fidelity"]["kernel_gates"] == {}
