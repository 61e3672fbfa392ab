"""A lab in the kernel beside its plan: whatever is missing or otherwise is named, and made as planned again."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest

from testbed.drivers import ByHand
from testbed.drivers.netns import NetnsDriver
from testbed.system import namespaces as kernel
from tests.live.netns_lab import isolated, make_plan

pytestmark = pytest.mark.usefixtures("require_root")

PLAN = make_plan("live", delay_ps=1_000_000)
DILATION = 100

ALTERED = {
    "an address": ("h1", "ip addr flush dev eth1", "eth1 lacks its address 198.19.0.2"),
    "a route": ("h0", "ip route flush dev eth1", "eth1 lacks its route to 198.18.0.0/15"),
    "a neighbour": ("h0", "ip neigh flush dev eth1 nud permanent", "eth1 lacks its neighbour 198.19.0.2"),
    "an interface that is down": ("h0", "ip link set eth1 down", "eth1 is down"),
    "a carrier": ("h0", "ip link set eth1 down", "eth1 has no carrier"),
    "ARP": ("h1", "ip link set eth1 arp on", "eth1 asks for addresses by ARP"),
    "a queueing discipline": ("h0", "tc qdisc del dev eth1 root", "eth1 lacks its queueing discipline htb"),
    "a rate": (
        "h0",
        "tc class change dev eth1 classid 1:10 htb rate 5gbit",
        "eth1 lets its kernel send 5000000000 bit/s",
    ),
    "a discipline more": (
        "s0",
        "tc qdisc add dev eth2 root pfifo",
        "eth2 has a queueing discipline that is not planned, pfifo",
    ),
    "an MTU": ("s0", "ip link set eth1 mtu 1500", "eth1 has an MTU of 1500 bytes instead of 4200"),
    "an interface": ("s0", "ip link del eth2", "eth2 is gone"),
    "its peer": ("s0", "ip link del eth2", "eth1 is gone"),
    "a MAC": ("h1", "ip link set eth1 address 02:00:00:00:00:99", "eth1 is another interface of that name"),
    "a name": ("s0", "sh -c 'ip link set eth1 down; ip link set eth1 name eth9'", "eth1 is gone"),
    "an offload": ("s0", "ethtool -K eth1 gro on", "eth1 has offloads on"),
    "a namespace": ("", "ip netns del testbed-live-h0", "its namespace is gone"),
}
ELSEWHERE = {"a carrier": "s0", "its peer": "h1", "a namespace": "h0"}
"""Where a fault shows that is not where somebody was at work."""


def altered(node: str, command: str) -> None:
    inside = ["ip", "netns", "exec", f"testbed-live-{node}"] if node else []
    subprocess.run([*inside, *shlex.split(command)], check=True, capture_output=True)


def deviations(driver: NetnsDriver, **by_hand: Any) -> dict[str, str]:
    return driver.deviations(PLAN, DILATION, ByHand(**by_hand))


@isolated
def test_whatever_is_altered_is_named_and_made_as_planned_again() -> None:
    driver = NetnsDriver()
    driver.deploy(PLAN, DILATION)
    # As the sockets of a data plane do, these keep a namespace in being that loses its name.
    held = kernel.open_namespaces("live")
    assert deviations(driver) == {}
    for what, (node, command, reason) in ALTERED.items():
        altered(node, command)
        reasons = deviations(driver)
        assert reason in reasons[ELSEWHERE.get(what, node)], (what, reasons)
        driver.reconcile(PLAN, PLAN, DILATION)
        assert deviations(driver) == {}, what
    for namespace in held:
        namespace.close()
    driver.destroy("live")


@isolated
def test_what_somebody_added_is_no_fault() -> None:
    driver = NetnsDriver()
    driver.deploy(PLAN, DILATION)
    altered("h0", "ip addr add 10.9.0.1/24 dev eth1")
    altered("h0", "ip route add 10.8.0.0/24 dev eth1")
    altered("h0", "ip link add dummy0 type veth")
    altered("h0", "ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:98 dev eth1")
    assert deviations(driver) == {}
    driver.destroy("live")


@isolated
def test_a_carrier_that_was_taken_away_is_no_fault_and_one_that_came_back_is() -> None:
    driver = NetnsDriver()
    driver.deploy(PLAN, DILATION)
    cut = ("h0:eth1", "s0:eth1")
    driver.set_carrier(PLAN, cut, False, DILATION)
    assert deviations(driver) == {"h0": "eth1 has no carrier", "s0": "eth1 is down"}
    assert deviations(driver, cut=cut) == {}
    altered("s0", "ip link set eth1 up")
    said = "eth1 has a carrier, though its link was taken down"
    assert deviations(driver, cut=cut) == {"h0": said, "s0": said}
    driver.set_carrier(PLAN, cut, True, DILATION)
    assert deviations(driver) == {}
    driver.destroy("live")


@isolated
def test_hosts_get_back_with_a_carrier_what_their_kernels_forgot() -> None:
    plan = make_plan("live", switches=0, delay_ps=1_000_000)
    driver = NetnsDriver()
    driver.deploy(plan, DILATION)
    cut = ("h0:eth1", "h1:eth1")
    driver.set_carrier(plan, cut, False, DILATION)
    assert sorted(driver.deviations(plan, DILATION)) == ["h0", "h1"]
    assert driver.deviations(plan, DILATION, ByHand(cut=cut)) == {}
    driver.set_carrier(plan, cut, True, DILATION)
    assert driver.deviations(plan, DILATION) == {}
    driver.destroy("live")
