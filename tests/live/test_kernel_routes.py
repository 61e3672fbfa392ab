"""Kernels of hosts with several ports: each address of each host is reached, by the port that leads to it, and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from testbed._dataplane import RealFabric
from testbed.contract.plan import Attachment, Plan
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import lab_from
from testbed.plan.compile import compile_fabric
from testbed.schema.source import Source
from tests.live.netns_lab import isolated

pytestmark = pytest.mark.usefixtures("require_root")

LAB = "rails"
DILATION = 100
HOSTS = ("s1", "s2", "h")


def plan_of(rails: int) -> Plan:
    """Return two servers on rails that nothing joins, with a link between the two beside, and a host on the first rail."""
    nodes: dict[str, Any] = {name: {"kind": "host"} for name in HOSTS}
    nodes |= {f"rail{rail}": {"kind": "switch", "buffer": "auto"} for rail in range(1, rails + 1)}
    ends = [["s1:eth9", "s2:eth9"], ["h:eth1", "rail1:eth3"]]
    ends += [[f"s{server}:eth{rail}", f"rail{rail}:eth{server}"] for rail in range(1, rails + 1) for server in (1, 2)]
    links = [{"endpoints": pair, "rate": "10G"} for pair in ends]
    lab = lab_from(Source(LAB, {"name": LAB, "topology": {"nodes": nodes, "links": links}}))
    return compile_fabric(lab, new_experiment(LAB, "incast").with_overrides(["clock=real", "emulation=native"]))


def addresses(plan: Plan) -> dict[str, str]:
    """Return the port of each address of a kernel."""
    return {
        entry["ip"]: f"{entry['name']}:{plan['nodes'][entry['node']]['ports'][entry['port']]['name']}"
        for entry in plan["stations"]
        if entry["kind"] == "kernel"
    }


def said(driver: NetnsDriver, node: str, command: str) -> str:
    done = driver.run_in(LAB, node, ["sh", "-c", command], 60)
    assert done.returncode == 0, (node, command, done.stdout, done.stderr)
    return done.stdout


def check_pings(driver: NetnsDriver, plan: Plan, attachments: list[Attachment]) -> None:
    """Let every host ping every address of every host, its own included."""
    fabric = RealFabric(json.dumps(plan), DILATION, json.dumps(attachments))
    try:
        for host in HOSTS:
            said(driver, host, f'for to in {" ".join(addresses(plan))}; do ping -q -c 1 -W 20 "$to" || exit 1; done')
        report = json.loads(fabric.report())
    finally:
        fabric.close()
    count = report["kernel_frames"]
    assert count["sent"] > 0 and count["dropped"] == 0, count


def ways(driver: NetnsDriver, plan: Plan, node: str) -> Mapping[str, str]:
    """Return by which interface, from which address a node sends to each port of others: what its kernel says."""
    ports = addresses(plan)
    others = [address for address, port in ports.items() if not port.startswith(f"{node}:")]
    lines = said(driver, node, "".join(f"ip -o route get {address};" for address in others)).splitlines()
    found = {}
    for address, line in zip(others, lines, strict=True):
        words = line.split()
        device, source = (words[words.index(what) + 1] for what in ("dev", "src"))
        assert ports[source] == f"{node}:{device}"
        found[ports[address]] = device
    return found


@isolated
def test_every_address_is_reached_and_what_is_lost_of_that_is_made_again() -> None:
    driver = NetnsDriver()
    two, three = plan_of(2), plan_of(3)
    check_pings(driver, two, driver.deploy(two, DILATION))
    assert ways(driver, two, "s1") == {f"s2:eth{number}": f"eth{number}" for number in (1, 2, 9)} | {"h:eth1": "eth1"}
    assert ways(driver, two, "h") == {f"s{server}:eth{number}": "eth1" for server in (1, 2) for number in (1, 2, 9)}
    (lost,) = (address for address, port in addresses(two).items() if port == "s2:eth2")
    said(driver, "s1", f"ip route replace {lost}/32 dev eth9; ip neigh flush dev eth2 nud permanent")
    missing = f"eth2 lacks its route to {lost}/32; eth2 lacks its neighbour {lost}"
    assert driver.deviations(two, DILATION) == {"s1": missing}
    driver.reconcile(two, two, DILATION)
    assert driver.deviations(two, DILATION) == {} and ways(driver, two, "s1")["s2:eth2"] == "eth2"
    driver.reconcile(three, two, DILATION)
    assert driver.deviations(three, DILATION) == {} and ways(driver, three, "s1")["s2:eth3"] == "eth3"
    check_pings(driver, two, driver.reconcile(two, three, DILATION))
    # Exactly as planned: nothing of the third rail is left in a table.
    driver.deploy(two, DILATION)
    driver.destroy(LAB)


@isolated
def test_a_link_that_was_down_is_used_again() -> None:
    driver = NetnsDriver()
    plan = plan_of(2)
    attachments = driver.deploy(plan, DILATION)
    # Between two hosts one of them loses its interface, and what its kernel knew of it.
    link = ("s1:eth9", "s2:eth9")
    driver.set_carrier(plan, link, False, DILATION)
    driver.set_carrier(plan, link, True, DILATION)
    assert driver.deviations(plan, DILATION) == {}
    check_pings(driver, plan, attachments)
    driver.destroy(LAB)
