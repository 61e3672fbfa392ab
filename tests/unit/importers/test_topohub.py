"""Wide-area topologies of the package topohub: sites as switches with hosts, distances as lengths."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from testbed.errors import HostError, TopologyError, UsageError
from testbed.importers import topohub
from testbed.importers.draft import link_rules
from testbed.importers.text import Text
from testbed.lab.topology import lab_from

SMALL = """\
{"graph": {"demands": {"0": {"1": 5}}},
 "nodes": [{"id": 0, "name": "San José"}, {"id": 7, "type": "Seacable Waypoint"}, {"id": 8, "name": "X"}, {"id": 9, "name": "X"}],
 "edges": [{"source": 0, "target": 7, "dist": 12.5}, {"source": 7, "target": 8}, {"source": 8, "target": 9, "dist": 0}]}
"""


def test_a_topology_of_the_package_has_real_distances() -> None:
    lab = lab_from(topohub.read_topohub(topohub.find("sndlib/polska"), 2, link_rules("400G", None, [])).source)
    assert (len(lab.switches), len(lab.hosts), len(lab.links)) == (12, 24, 24 + 18)
    span = next(link for link in lab.links if {link.a.node, link.b.node} == {"gdansk", "warsaw"})
    assert span.length_mm == 273_930_000 and span.rate_bps == 400 * 10**9


def test_names_waypoints_and_links_without_a_distance() -> None:
    imported = topohub.read_topohub(Text("topohub/a/small", SMALL))
    lab = lab_from(imported.source)
    assert [switch.name for switch in lab.switches] == ["san-jos", "n-7", "x-8", "x-9"]
    assert [host.name for host in lab.hosts] == ["san-jos-h1", "x-8-h1", "x-9-h1"]
    assert lab.links[3].length_mm == 12_500_000
    assert "2 links without a distance; left out: demands" in imported.summary()


@pytest.mark.parametrize(
    "text", ['{"nodes": {}}', '{"nodes": [1], "edges": []}', SMALL.replace('"target": 7', '"target": 6')]
)
def test_data_that_is_no_topology_is_refused(text: str) -> None:
    with pytest.raises(TopologyError, match="topohub/a/small"):
        topohub.read_topohub(Text("topohub/a/small", text))


def test_names_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match='did you mean "sndlib/polska"'):
        topohub.find("sndlib/polka")
    with pytest.raises(UsageError, match="families: backbone, caida"):
        topohub.find("../../x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HostError, match=r"pip install 'lossless-testbed\[topologies\]'"):
        topohub.find("sndlib/polska")


def test_the_command(call_testbed: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = call_testbed("import", "topohub", "topozoo/Abilene", "--rate", "100G", "-o", "abilene.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("took 11 hosts, 11 switches, 25 links")
    assert call_testbed("import", "topohub", "sndlib/polska", "--hosts", "100000").returncode == 2
