"""Files that other projects ship, read where they are."""

from __future__ import annotations

from collections import Counter

import pytest

from testbed.importers.hpcc import read_hpcc
from testbed.importers.hpcc_config import read_config
from testbed.importers.htsim import read_htsim
from testbed.importers.text import read_text
from testbed.importers.writing import yaml_text
from testbed.lab.topology import Switch, lab_from
from tests.unit.importers.conftest import OTHERS


@pytest.mark.parametrize(("name", "slow"), [("topology-8dc-as-run.txt", 40), ("topology-8dc.txt", 25)])
def test_the_eight_data_centres_of_lcmp(name: str, slow: int) -> None:
    found = read_hpcc(read_text(OTHERS / "lcmp" / name), read_config(read_text(OTHERS / "lcmp" / "config.txt")))
    lab = lab_from(found.source)
    assert (len(lab.hosts), len(lab.switches), len(lab.links)) == (128, 56, 220)
    rates = Counter(link.rate_bps // 10**9 for link in lab.links)
    assert rates == {100: 196, 400: 16, 200: 4, slow: 4}
    buffers = Counter(node.buffer_bytes for node in lab.nodes if isinstance(node, Switch))
    assert buffers == {32 * 2**20: 48, 128 * 2**20: 8}
    assert found.experiment["lossless"] == {"ecn": "hpcc-ns3"}
    assert ("lines that belong to no key", 5) in [(left.what, left.times) for left in found.left]


@pytest.mark.parametrize(
    ("name", "hosts", "switches", "links"),
    [
        ("fat_tree_128_4os", 128, 32 + 32 + 4, 128 + 128 + 32),
        ("leaf_spine_1024", 1024, 64, 2048),
        ("leaf_spine_tiny", 32, 6, 40),
    ],
)
def test_fat_trees_of_htsim(name: str, hosts: int, switches: int, links: int) -> None:
    found = read_htsim(read_text(OTHERS / "htsim" / f"{name}.topo"))
    lab = lab_from(found.source)
    assert (len(lab.hosts), len(lab.switches), len(lab.links)) == (hosts, switches, links)
    assert not found.left
    yaml_text(found.source.data)
