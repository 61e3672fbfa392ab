"""Every program that the images of nodes bring, run between two containers."""

from __future__ import annotations

from importlib import resources

import pytest

from bench.engine import DockerEngine
from tests.live.machine import Machine, wait_for

pytestmark = [pytest.mark.usefixtures("require_root", "images"), pytest.mark.timeout(300)]

# By package: what runs in b1 meanwhile and the TCP port at which it is then heard, what runs in a1, and what that says.
PROGRAMS = {
    "ethtool": ("", 0, "ethtool eth1", "Link detected: yes"),
    "iperf3": ("iperf3 --server", 5201, "iperf3 --client b1 --time 1", "iperf Done"),
    "iproute2": ("", 0, "ip -brief link show eth1", "UP"),
    "iputils-ping": ("", 0, "ping -c 2 b1", " 0% packet loss"),
    "netcat-openbsd": ("echo hello | nc -l -N 7000", 7000, "nc -d b1 7000", "hello"),
    "procps": ("", 0, "ps -e", "sleep"),
    "qperf": ("qperf", 19765, "qperf --time 1 b1 tcp_lat", "latency"),
    "tcpdump": ("ping -q -i 0.2 a1", 0, "tcpdump -n -i eth1 -c 2 icmp", "ICMP echo request"),
}


def test_each_package_of_the_images_has_a_program_that_is_run() -> None:
    images = resources.files("testbed.containers") / "images"
    for kind in ("host", "switch"):
        packages = (images / f"{kind}.packages").read_text().split()
        assert set(packages) <= PROGRAMS.keys(), kind
        assert kind != "host" or set(packages) == PROGRAMS.keys()


def test_every_program_of_the_images_does_what_it_is_for(machine: Machine, engine: DockerEngine) -> None:
    machine.ok("deploy", "-t", "pair", "--driver", "docker", "--dilation", "2000")
    for package, (meanwhile, port, command, said) in PROGRAMS.items():
        if meanwhile:
            engine.docker("exec", "--detach", "testbed-pair-b1", "sh", "-c", meanwhile)
        if port:
            listening = f"ss -H -l -t -n 'sport = :{port}'"
            wait_for(lambda wanted=listening: bool(engine.docker("exec", "testbed-pair-b1", "sh", "-c", wanted)))  # type: ignore[misc]
        output = engine.docker("exec", "testbed-pair-a1", "sh", "-c", f"timeout 60 {command} 2>&1")
        assert said in output, (package, output)


def test_a_switch_can_be_listened_to_as_well(machine: Machine, engine: DockerEngine) -> None:
    machine.ok("deploy", "-t", "pair", "--driver", "docker", "--dilation", "2000")
    engine.docker("exec", "--detach", "testbed-pair-a1", "ping", "-i", "0.2", "b1")
    command = "timeout 60 tcpdump -n -i eth1 -c 1 -w /tmp/seen.pcap icmp && tcpdump -n -r /tmp/seen.pcap 2>&1"
    assert "ICMP echo request" in engine.docker("exec", "testbed-pair-leaf", "sh", "-c", command)
