"""By which port the kernel of a host reaches each address of the others: its own rail, else a port that leads there."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.contract.plan import Plan
from testbed.drivers.layout import FIRST_INDEX, Node, layout_of
from testbed.experiment.file import new_experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.placement import part_of, place, placed
from testbed.schema.source import Source

SERVERS = ("s1", "s2")


def lab_of(links: list[tuple[str, str]], **switches: dict[str, Any]) -> Lab:
    nodes: dict[str, Any] = {end.partition(":")[0]: {"kind": "host"} for link in links for end in link}
    nodes |= {name: {"kind": "switch", "buffer": "auto"} | settings for name, settings in switches.items()}
    topology = {"nodes": nodes, "links": [{"endpoints": list(link)} for link in links]}
    return lab_from(Source("x", {"name": "x", "topology": topology}))


def rails(**more: dict[str, Any]) -> Lab:
    """Return two servers on two rails that nothing joins, and a host with one port on the first."""
    links = [
        (f"{server}:eth{rail}", f"rail{rail}:eth{number}")
        for number, server in enumerate(SERVERS, 1)
        for rail in (1, 2)
    ]
    return lab_of([*links, ("h:eth1", "rail1:eth3")], rail1={}, rail2={}, **more)


def plan_of(lab: Lab) -> Plan:
    return compile_fabric(lab, new_experiment(lab.name, "incast").with_overrides(["clock=real"]))


def nodes_of(plan: Plan) -> dict[str, Node]:
    return {node.name: node for node in layout_of(plan, {}).nodes}


def kernels(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return the address and the MAC of each port of a host."""
    return {
        f"{entry['name']}:{plan['nodes'][entry['node']]['ports'][entry['port']]['name']}": (entry["ip"], entry["mac"])
        for entry in plan["stations"]
        if entry["kind"] == "kernel"
    }


def ways(plan: Plan, host: str) -> dict[str, str]:
    """Return by which interface a host reaches each port of others; it has a neighbour there for each."""
    ports = {address: port for port, (address, _mac) in kernels(plan).items()}
    node = nodes_of(plan)[host]
    known = {(index, address) for index, address, _mac in node.neighbours}
    assert all((index, address) in known and length == 32 for index, address, length in node.routes)
    return {ports[address]: f"eth{index - FIRST_INDEX + 1}" for index, address, _length in node.routes}


def test_each_rail_is_reached_by_the_port_that_is_on_it() -> None:
    plan = plan_of(rails())
    assert ways(plan, "s1") == {"s2:eth1": "eth1", "s2:eth2": "eth2", "h:eth1": "eth1"}


def test_spines_join_rails_and_each_address_is_still_reached_on_its_own() -> None:
    plan = plan_of(load_lab("rail:servers=2,accelerators=4,spines=2"))
    assert ways(plan, "s1") == {f"s2:eth{rail}": f"eth{rail}" for rail in range(1, 5)}
    # A program that is bound to a port reaches all that the spines join it to.
    assert len(nodes_of(plan)["s1"].neighbours) == 4 * 4


def test_a_port_that_nothing_of_a_host_reaches_is_found_at_another_of_its_host() -> None:
    plan = plan_of(rails())
    node, known = nodes_of(plan)["h"], kernels(plan)
    assert node.routes == [(FIRST_INDEX, "198.18.0.0", 15)]
    assert {address: mac for _index, address, mac in node.neighbours} == {
        known[f"{server}:eth{port}"][0]: known[f"{server}:eth1"][1] for server in SERVERS for port in (1, 2)
    }


def test_a_domain_is_reached_by_scale_up_ports_and_others_around_it() -> None:
    plan = plan_of(load_lab("super-node:domains=2,size=4,accelerators=2,spines=1"))
    found, known = ways(plan, "d1-s1"), kernels(plan)
    assert {port: way for port, way in found.items() if port.startswith("d1-s2")} == {
        f"d1-s2:eth{number}": f"eth{number}" for number in range(1, 5)
    }
    assert [found[f"d2-s1:eth{number}"] for number in range(1, 5)] == ["eth1", "eth2", "eth1", "eth1"]
    macs = {address: mac for _index, address, mac in nodes_of(plan)["d1-s1"].neighbours}
    # eth3 and eth4 are scale-up ports of the other domain: their addresses are heard at eth1.
    assert {macs[known[f"d2-s1:eth{number}"][0]] for number in (1, 3, 4)} == {known["d2-s1:eth1"][1]}


def test_links_from_host_to_host_lead_to_their_ends() -> None:
    plan = plan_of(lab_of([("a:eth1", "b:eth1"), ("b:eth2", "c:eth1"), ("a:eth2", "c:eth2")]))
    assert ways(plan, "a") == {"b:eth1": "eth1", "b:eth2": "eth1", "c:eth1": "eth2", "c:eth2": "eth2"}


def test_what_no_port_reaches_has_no_way() -> None:
    plan = plan_of(lab_of([("a:eth1", "b:eth1"), ("a:eth2", "b:eth2"), ("c:eth1", "d:eth1")]))
    assert ways(plan, "a") == {"b:eth1": "eth1", "b:eth2": "eth2"}


@pytest.mark.parametrize(
    "lab", ["rail:servers=3,accelerators=2,spines=1", "super-node:domains=2,size=4,accelerators=2"]
)
def test_several_agents_give_their_hosts_the_same_ways(lab: str) -> None:
    topology = load_lab(lab)
    machines = {"one": "10.0.0.1", "two": "10.0.0.2", "three": "10.0.0.3"}
    plan = placed(plan_of(topology), place(topology, machines), topology)
    whole = nodes_of(plan_of(topology))
    seen: dict[str, Node] = {}
    for agent in machines:
        seen |= nodes_of(part_of(plan, agent))
    assert seen.keys() == whole.keys()
    assert {name: (node.routes, node.neighbours) for name, node in seen.items()} == {
        name: (node.routes, node.neighbours) for name, node in whole.items()
    }
