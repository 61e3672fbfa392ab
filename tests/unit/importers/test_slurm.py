"""Slurm's topology.conf: trees, blocks, host lists, and what the file does not say."""

from __future__ import annotations

import pytest

from testbed.errors import TopologyError
from testbed.importers.draft import link_rules
from testbed.importers.slurm import expand, read_slurm
from testbed.importers.text import Text
from testbed.lab.topology import lab_from

TREE = """\
# Two racks
SwitchName=Leaf[0-1] Nodes=n[0-1]
"""
RACKS = """\
# Two racks
SwitchName=leaf0 Nodes=Node_[0-1] LinkSpeed=100
switchname=leaf1 \\
    nodes=n[08-09],x
SwitchName=top Switches=leaf[0-1]
"""


def names(text: str) -> list[str]:
    return list(expand(Text("t", text), 1, text))


def test_a_tree() -> None:
    imported = read_slurm(Text("topology.conf", RACKS), link_rules("400G", None, ["leaf*:top length=300m"]))
    lab = lab_from(imported.source)
    assert [host.name for host in lab.hosts] == ["node-0", "node-1", "n08", "n09", "x"]
    assert [(link.a.node, link.b.node) for link in lab.links] == [
        ("node-0", "leaf0"),
        ("node-1", "leaf0"),
        ("n08", "leaf1"),
        ("n09", "leaf1"),
        ("x", "leaf1"),
        ("leaf0", "top"),
        ("leaf1", "top"),
    ]
    assert {link.rate_bps for link in lab.links} == {400 * 10**9} and lab.links[6].length_mm == 300_000
    assert [str(left) for left in imported.left] == ["LinkSpeed=100 (topology.conf:2)"]
    assert imported.source.line(("topology", "nodes", "x")) == 3


def test_blocks_are_joined_and_the_last_line_says_so() -> None:
    imported = read_slurm(
        Text("topology.conf", "BlockName=b1 Nodes=n[0-1]\nBlockName=b2 Nodes=n[2-3]\nBlockSizes=2,4\n")
    )
    lab = lab_from(imported.source)
    assert [switch.name for switch in lab.switches] == ["b1", "b2", "fabric"]
    assert "blocks are joined by a switch fabric, of which the file does not speak" in imported.summary()
    assert "links without a rate or a length have those of labs" in imported.summary()
    assert [left.what for left in imported.left] == ["BlockSizes=2,4"]


def test_host_lists() -> None:
    assert names("n[0-2,7]") == ["n0", "n1", "n2", "n7"]
    assert names("r[1-2]n[01-02]-x,y") == ["r1n01-x", "r1n02-x", "r2n01-x", "r2n02-x", "y"]
    assert names("n[098-101]") == ["n098", "n099", "n100", "n101"]
    for text in ("n[", "n]", "n[1", "n[1-]", "n[2-1]", "n[a-b]", ",a", "a,,b", "n[]"):
        with pytest.raises(TopologyError):
            names(text)
    for text in ("n[0-999999999]", "n[0-999][0-999]", ",".join(["n[0-9999]"] * 2)):
        with pytest.raises(TopologyError, match="more than 16384"):
            names(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no SwitchName and no BlockName"),
        ("SwitchName\n", ':1: "SwitchName" is not Key=value'),
        ("SwitchName=a Nodes=n1 Nodes=n2\n", ":1: Nodes is given twice"),
        ("SwitchName=a Nodes=n1\nSwitchName=a Nodes=n2\n", ':2: "a" is named twice'),
        ("SwitchName=a Nodes=n1 Switches=b\n", ':1: no switch is called "b"'),
        ("SwitchName=a Nodes=a\n", 'two nodes would be called "a"'),
        ("SwitchName=a Nodes=[1\n", "has a bracket without its other half"),
    ],
)
def test_faults_have_their_line(text: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        lab_from(read_slurm(Text("topology.conf", text)).source)
    assert said in str(caught.value)
