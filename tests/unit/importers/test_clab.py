"""Files of containerlab: both forms of links, kinds through groups and defaults, names, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from testbed.errors import TopologyError, UsageError
from testbed.experiment.file import Experiment
from testbed.importers.clab import is_clab, kind_map, read_clab, write_clab
from testbed.importers.draft import Imported, link_rules
from testbed.lab.graph import graph_of
from testbed.lab.topology import Lab, lab_from
from testbed.plan.compile import compile_fabric
from testbed.schema.source import parse_yaml
from tests.unit.plan.drawn_labs import labs

FABRIC = """\
name: Fabric_2
mgmt: {network: x}
topology:
  defaults: {kind: linux}
  groups:
    leaf: {kind: nokia_srlinux, type: ixr}
  nodes:
    Leaf_1: {group: leaf, startup-config: a.cfg}
    leaf-2: {kind: nokia_srlinux}
    h1:
    h2: {image: "alpine:3", memory: 1Gb, cpu: 2}
    br: {kind: bridge}
  links:
    - endpoints: ["Leaf_1:e1-2", "h1:eth1"]
    - endpoints: ["leaf-2:ethernet-1/10", "h2:eth1"]
      mtu: 9000
      vars: {rate: 25G, length: 3m, site: x}
    - type: veth
      endpoints: [{node: Leaf_1, interface: e1-10, mac: "02:00:00:00:00:01"}, {node: leaf-2, interface: ethernet-1/2}]
      labels: {rate: 400G, delay: 2ms}
    - endpoints: ["Leaf_1:e1-1", "br:eth7"]
    - endpoints: ["leaf-2:e9", "macvlan:${host_link:=ens3}"]
    - {type: mgmt-net, endpoint: {node: h1, interface: eth9}, host-interface: x}
"""
KINDS = {"nokia_srlinux": "switch"}


def read(text: str, roles: dict[str, str] | None = None, *options: str) -> tuple[Lab, Imported]:
    rules = link_rules("100G", "20m", options) if options else ()
    imported = read_clab(parse_yaml(text, "fabric.clab.yml", TopologyError), roles or {}, rules)
    return lab_from(imported.source), imported


def test_nodes_and_links_are_taken_and_the_rest_is_said() -> None:
    lab, imported = read(FABRIC, KINDS)
    assert lab.name == "fabric-2"
    assert {node.name: node.kind for node in lab.nodes} == {
        "leaf-1": "switch",
        "leaf-2": "switch",
        "h1": "host",
        "h2": "host",
        "br": "switch",
    }
    assert lab.hosts[1].container.image == "alpine:3" and lab.hosts[1].container.cpu_millis == 2000
    assert [tuple(map(str, (link.a, link.b))) for link in lab.links] == [
        ("leaf-1:eth2", "h1:eth1"),
        ("leaf-2:eth2", "h2:eth1"),
        ("leaf-1:eth3", "leaf-2:eth1"),
        ("leaf-1:eth1", "br:eth7"),
    ]
    assert [link.rate_bps for link in lab.links] == [100 * 10**9, 25 * 10**9, 400 * 10**9, 100 * 10**9]
    assert (lab.links[1].mtu_bytes, lab.links[1].length_mm, lab.links[2].delay_ps) == (9000, 3000, 2 * 10**9)
    assert [str(left) for left in imported.left] == [
        "mgmt (fabric.clab.yml:2)",
        "type of nodes (fabric.clab.yml:6)",
        "startup-config of nodes (fabric.clab.yml:8)",
        "memory of nodes (fabric.clab.yml:11)",
        "vars of links: site (fabric.clab.yml:17)",
        "mac of endpoints (fabric.clab.yml:19)",
        "links to macvlan (fabric.clab.yml:22)",
        "links of type mgmt-net (fabric.clab.yml:23)",
    ]
    assert "Leaf_1 is called leaf-1; 5 interfaces have new names: Leaf_1:e1-1 is leaf-1:eth1" in imported.summary()


def test_options_say_what_links_are_like_and_the_file_wins() -> None:
    lab, _ = read(FABRIC, KINDS, "leaf*:br rate=200G delay=5us", "h?:leaf* length=2m")
    assert [(link.rate_bps // 10**9, link.length_mm) for link in lab.links] == [
        (100, 2000),
        (25, 3000),
        (400, None),
        (200, None),
    ]
    assert lab.links[3].delay_ps == 5 * 10**6


def test_a_kind_that_is_not_known_is_refused_with_node_and_kind() -> None:
    with pytest.raises(TopologyError) as caught:
        read(FABRIC)
    assert str(caught.value).splitlines() == [
        'fabric.clab.yml:8: topology.nodes.Leaf_1: a node of kind "nokia_srlinux", which is not known; '
        "say what it is: --kind-map nokia_srlinux=switch",
        'fabric.clab.yml:9: topology.nodes.leaf-2: a node of kind "nokia_srlinux", which is not known; '
        "say what it is: --kind-map nokia_srlinux=switch",
    ]


def test_nodes_are_mapped_by_name_before_kind_and_may_be_skipped() -> None:
    # What only skipped nodes lead to has no link any more.
    smaller = FABRIC.replace("    h2: {", "    h1b: {").replace("h2:eth1", "h1b:eth1")
    lab, imported = read(smaller, {**KINDS, "br": "skip", "leaf-2": "skip", "h1b": "switch"})
    assert [(node.name, node.kind) for node in lab.nodes] == [("leaf-1", "switch"), ("h1", "host"), ("h1b", "switch")]
    assert [str(left) for left in imported.left if "node" in left.what.split()] == [
        "node leaf-2 (fabric.clab.yml:9)",
        "node br (fabric.clab.yml:12)",
        "links of node leaf-2 (fabric.clab.yml:15, 3 times)",
        "links of node br (fabric.clab.yml:21)",
    ]


def test_a_map_that_fits_nothing_is_refused() -> None:
    with pytest.raises(
        UsageError, match='no node is called "nokia_srlinx" or of that kind; did you mean "nokia_srlinux"'
    ):
        read(FABRIC, {**KINDS, "nokia_srlinx": "switch"})
    for text in ("a", "=switch", "a=router"):
        with pytest.raises(UsageError, match="--kind-map"):
            kind_map([text])
    assert kind_map(["a=switch,b=host", "c=skip"]) == {"a": "switch", "b": "host", "c": "skip"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"h1:eth1"]', '"h3:eth1"]', 'topology.links[0]: no node is called "h3"'),
        ('"h1:eth1"]', '"h1"]', ':14: topology.links[0].endpoints[1]: "h1" is not an endpoint'),
        ('"h1:eth1"]', '"h1:eth1", "h2:eth2"]', ":14: topology.links[0]: a link has two endpoints"),
        (
            "${host_link:=ens3}",
            "${host_link}",
            ":22: topology.links[4].endpoints[1]: the variable host_link has no default",
        ),
        ("rate: 25G", "rate: 25", ':15: rate: "25": a rate needs a unit'),
        ("rate: 25G", "rate: [25G]", ":17: topology.links[1].vars.rate: must be a number or a quantity"),
        ("    h1:\n", "    h1: 7\n", ":10: topology.nodes.h1: a node is a mapping, or nothing"),
        ("leaf-2: {", "leaf_1: {", 'two nodes would be called "leaf-1"; the second is "leaf_1"'),
    ],
)
def test_faults_have_their_line(old: str, new: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read(FABRIC.replace(old, new), KINDS)
    assert said in str(caught.value)


def test_a_lab_file_is_told_from_one_of_containerlab() -> None:
    ours = "name: a\ntopology: {nodes: {a: {kind: switch}, b: {kind: hots}}}"
    assert not is_clab(parse_yaml(ours, "a.yaml", TopologyError))
    assert not is_clab(parse_yaml(ours.replace("hots", "host"), "a.clab.yml", TopologyError))
    assert is_clab(parse_yaml(ours.replace("hots", "linux"), "a.yaml", TopologyError))
    assert is_clab(parse_yaml(ours, "a.clab.yml", TopologyError))


@settings(max_examples=40)
@given(labs(kinds={"switch": {"buffer": "auto"}}))
def test_any_lab_that_is_written_and_read_has_the_same_plan(lab: Lab) -> None:
    again, imported = read(write_clab(graph_of(lab)))
    assert not imported.left
    assert compile_fabric(again, Experiment(topology="x")) == compile_fabric(lab, Experiment(topology="x"))
