"""Files that other projects ship, read where they are."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

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
    imported = read_hpcc(read_text(OTHERS / "lcmp" / name), read_config(read_text(OTHERS / "lcmp" / "config.txt")))
    lab = lab_from(imported.source)
    assert (len(lab.hosts), len(lab.switches), len(lab.links)) == (128, 56, 220)
    rates = Counter(link.rate_bps // 10**9 for link in lab.links)
    assert rates == {100: 196, 400: 16, 200: 4, slow: 4}
    buffers = Counter(node.buffer_bytes for node in lab.nodes if isinstance(node, Switch))
    assert buffers == {32 * 2**20: 48, 128 * 2**20: 8}
    border = next(switch for switch in lab.switches if switch.name == "b176")
    alphas = [border.group(port, 3).alpha_log2 for port in lab.ports["b176"]]
    assert alphas == [-1, -1, -2, -2, -3, -3, -3, -3]
    assert ("lines that belong to no key", 5) in [(left.what, left.times) for left in imported.left]


@pytest.mark.parametrize(
    ("name", "hosts", "switches", "links"),
    [
        ("fat_tree_128_4os", 128, 32 + 32 + 4, 128 + 128 + 32),
        ("leaf_spine_1024", 1024, 64, 2048),
        ("leaf_spine_tiny", 32, 6, 40),
    ],
)
def test_fat_trees_of_htsim(name: str, hosts: int, switches: int, links: int) -> None:
    imported = read_htsim(read_text(OTHERS / "htsim" / f"{name}.topo"))
    lab = lab_from(imported.source)
    assert (len(lab.hosts), len(lab.switches), len(lab.links)) == (hosts, switches, links)
    assert not imported.left
    yaml_text(imported.source.data)


def test_a_sonic_switch_of_three_files_behaves_as_they_say(
    call_testbed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: onto\ntopology:\n  defaults: {rate: 100G, length: 40m}\n  nodes:\n"
        "    a1: {kind: host}\n    b1: {kind: host}\n    leaf1: {kind: switch, cell: 208}\n"
        '  links:\n    - {endpoints: ["a1:eth1", "leaf1:eth1"]}\n    - {endpoints: ["b1:eth1", "leaf1:eth2"]}\n'
    )
    files = [str(path) for path in sorted((OTHERS / "sonic").iterdir())]
    done = call_testbed("import", "sonic", *files, "--onto", "lab.yaml", "--switch", "leaf1", "-o", "done.yaml")
    assert done.returncode == 0, done.stderr
    cases = ("--only", "xoff-threshold", "--only", "drop-threshold", "--only", "xon-threshold")
    measured = call_testbed("conformance", "-t", "done.yaml", *cases, "--format", "json")
    assert measured.returncode == 0, measured.stdout
    by_name = {case["name"]: case["measured"] for case in json.loads(measured.stdout)["cases"]}
    # The pool of 33,329,088 bytes, alpha 1, 4,608 bytes of the group's own, and 160,000 of headroom, all in cells.
    threshold = (33_329_088 // 2 + 4_608) // 208 * 208
    assert by_name["xoff-threshold"]["held_at_most_bytes"] == threshold
    assert by_name["drop-threshold"]["held_at_most_bytes"] == threshold + 160_000 // 208 * 208
