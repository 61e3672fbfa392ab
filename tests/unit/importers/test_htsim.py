"""Fat trees of htsim: what follows from their figures, and figures that make no tree."""

from __future__ import annotations

from collections import Counter

import pytest

from testbed.errors import TopologyError
from testbed.importers.htsim import read_htsim
from testbed.importers.text import Text
from testbed.lab.topology import Lab, lab_from

TWO = """\
Nodes 8
Tiers 2
Podsize 8
Tier 0
Downlink_speed_Gbps 100
Radix_Down 4
Radix_Up 2
Downlink_Latency_ns 1000
Tier 1
Bundle 2
Downlink_speed_Gbps 200
Radix_Down 4
Downlink_Latency_ns 500
"""
THREE = """\
# Two pods of two leaves\tand two aggregation switches
Nodes 16
Tiers 3
PODSIZE 8
Tier 0
Downlink_speed_Gbps 100
Radix_Down 4
Radix_Up 4
Downlink_Latency_ns 1000
Tier 1
Oversubscribed 2
Downlink_speed_Gbps 100
Radix_Down 2
Radix_Up 1
Downlink_Latency_ns 1000
Switch_Latency_ns 0
Queue_Up 400000
Tier 2
Downlink_speed_Gbps 100
Radix_Down 2
Downlink_Latency_ns 43
Switch_Latency_ns 120"""


def read(text: str) -> Lab:
    return lab_from(read_htsim(Text("t.topo", text)).source)


def test_two_tiers_with_parallel_cables() -> None:
    lab = read(TWO)
    assert [node.name for node in lab.nodes if node.kind == "switch"] == ["tor0", "tor1", "agg0"]
    pairs = Counter((link.a.node, link.b.node) for link in lab.links)
    assert pairs["tor0", "agg0"] == pairs["tor1", "agg0"] == 2
    assert {pairs[f"h{host}", f"tor{host // 4}"] for host in range(8)} == {1} and len(lab.links) == 12
    assert {(link.rate_bps // 10**9, link.delay_ps // 1000) for link in lab.links} == {(100, 1000), (200, 500)}


def test_three_tiers() -> None:
    lab = read(THREE)
    kinds = Counter(node.name.rstrip("0123456789") for node in lab.nodes)
    # Eight links lead up from four aggregation switches a pod; a core takes one of each pod.
    assert kinds == {"h": 16, "tor": 4, "agg": 8, "core": 4}
    pairs = [(link.a.node, link.b.node) for link in lab.links]
    assert pairs[-8:] == [(f"agg{index}", f"core{index % 4}") for index in range(8)]
    assert [pair for pair in pairs if pair[0] == "tor3"] == [("tor3", f"agg{index}") for index in (4, 5, 6, 7)]
    assert [str(left) for left in read_htsim(Text("t.topo", THREE)).left] == [
        "Queue_Up 400000 of tier 1 (t.topo:17)",
        "Switch_Latency_Ns 120 of tier 2 (t.topo:22)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Nodes 16\n", "", ":2: Nodes is missing, or 0"),
        ("Nodes 16", "Nodes 16 17", ":2: a line is a key and a number"),
        ("Nodes 16", "Nodes 999999", ":2: more than 16384 nodes"),
        ("Tiers 3", "Tiers 4", ":2: 4 tiers; a fat tree has 2 or 3"),
        ("Tier 2", "Tier 1", ":18: Tier 1: tiers come in order, Tier 2 is next"),
        ("PODSIZE 8", "Podsize 5", ":5: Nodes 16 is not a multiple of Podsize 5"),
        (
            "Radix_Up 4",
            "Radix_Up 3",
            ":8: 400 Gb/s lead down from a switch of tier 0, and times Oversubscribed 300 Gb/s up",
        ),
        ("Radix_Up 1", "Radix_Up 2", ":14: 200 Gb/s lead down from a switch of tier 1"),
        ("Oversubscribed 2", "Oversubscribed 0", ":11: Oversubscribed 0 is not from 1 to"),
        ("Oversubscribed 2", "Radix 2", ':11: "Radix" is not a key of a tier'),
        ("Oversubscribed 2", "Radix_Down 2", ":13: Radix_Down is given twice"),
        ("Queue_Up 400000", "Bundle 3", ":8: Radix_Up 4 is not a multiple of Bundle of tier 1 3"),
        (
            "Radix_Down 2\nDownlink_Latency_ns 43",
            "Radix_Down 3\nDownlink_Latency_ns 43",
            ":20: Radix_Down of tier 2 is 3",
        ),
        ("Downlink_Latency_ns 43", "Downlink_Latency_us 43", "is not a key of a tier"),
        ("Downlink_Latency_ns 43\n", "", ":18: Downlink_Latency_Ns is missing in tier 2"),
        ("Downlink_Latency_ns 43", "Radix_Up 1\nDownlink_Latency_ns 43", ":21: the top tier has no Radix_Up"),
    ],
)
def test_figures_that_make_no_tree_have_their_line(old: str, new: str, said: str) -> None:
    assert old in THREE
    with pytest.raises(TopologyError) as caught:
        read(THREE.replace(old, new, 1))
    assert said in str(caught.value)
