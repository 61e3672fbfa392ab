"""testbed import and export: what is written, what is said, and what is refused before anything is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.lab.topology import load_lab

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
TOPOLOGY = "3 1 2\n2\n0 2 100Gbps 1us 0\n1 2 100Gbps 1us 0\n"
CLAB = """\
name: small
topology:
  nodes: {h1: {kind: linux, user: root}, h2: {kind: linux}, br: {kind: bridge}}
  links:
    - {endpoints: ["h1:eth1", "br:eth1"]}
    - {endpoints: ["h2:eth1", "br:eth2"]}
"""


def test_an_import_ends_with_what_it_took_and_left_out(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "topology.txt").write_text(TOPOLOGY)
    (tmp_path / "config.txt").write_text("PACKET_PAYLOAD_SIZE 1024\nU_TARGET 0.95\n")
    done = call_testbed(
        "import", "hpcc", "topology.txt", "config.txt", "-o", "lab.yaml", "--experiment", "e.yaml", "--name", "mine"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "took 2 hosts, 1 switch, 2 links, 1 setting of config.txt, packets of 1024 bytes and 48 of headers, "
        "acknowledgements of 60; left out: U_TARGET 0.95 (config.txt:2)"
    )
    assert load_lab(str(tmp_path / "lab.yaml")).name == "mine"
    assert call_testbed("validate", "lab.yaml", "e.yaml").returncode == 0


def test_strict_makes_leaving_out_an_error_and_writes_nothing(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "topology.txt").write_text(TOPOLOGY)
    (tmp_path / "config.txt").write_text("PACKET_PAYLOAD_SIZE 1024\nU_TARGET 0.95\n")
    done = call_testbed("import", "hpcc", "topology.txt", "config.txt", "-o", "lab.yaml", "--strict")
    assert done.returncode == 2 and not (tmp_path / "lab.yaml").exists()
    assert done.stderr.splitlines() == [
        "testbed: config.txt:2: left out: U_TARGET 0.95",
        "topology.txt: left out: settings of an experiment, transport; --experiment FILE takes them",
    ]
    assert call_testbed("import", "hpcc", "topology.txt", "-o", "lab.yaml", "--strict").returncode == 0


def test_faults_of_the_graph_have_the_lines_of_the_file_that_was_given(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "topology.txt").write_text("4 1 2\n3\n0 3 1Gbps 1us 0\n1 1 1Gbps 1us 0\n")
    done = call_testbed("import", "hpcc", "topology.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "topology.txt:4: topology.links[1].endpoints: a link from h1 to itself" in done.stderr
    done = call_testbed("import", "hpcc", "nothing.txt")
    assert (done.returncode, done.stderr) == (2, "testbed: nothing.txt: No such file or directory\n")


def test_an_experiment_needs_the_file_of_its_lab(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "topology.txt").write_text(TOPOLOGY)
    done = call_testbed("import", "hpcc", "topology.txt", "--experiment", "e.yaml")
    assert done.returncode == 2 and "give that one with -o" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("validate", "a.clab.yml"),
        ("graph", "--dot", "-t", "a.clab.yml"),
        ("run", "all_reduce", "-t", "a.clab.yml", "-b", "64K", "-c", "0"),
    ],
)
def test_a_file_of_containerlab_is_taken_as_it_is(call_testbed: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "a.clab.yml").write_text(CLAB)
    done = call_testbed(*command)
    assert done.returncode == 0, done.stderr
    assert "a.clab.yml: took 2 hosts, 1 switch, 2 links; left out: user of nodes (a.clab.yml:3)" in done.stderr


def test_a_file_of_containerlab_with_other_kinds_says_what_to_do(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.clab.yml").write_text(CLAB.replace("bridge", "nokia_srlinux"))
    done = call_testbed("validate", "a.clab.yml")
    assert done.returncode == 2
    assert 'a.clab.yml:3: topology.nodes.br: a node of kind "nokia_srlinux", which is not known' in done.stderr
    done = call_testbed(
        "import", "clab", "a.clab.yml", "--kind-map", "nokia_srlinux=switch", "--rate", "25G", "-o", "b.yaml"
    )
    assert done.returncode == 0 and load_lab(str(tmp_path / "b.yaml")).links[0].rate_bps == 25 * 10**9


def test_an_export_says_what_it_does_not_carry(call_testbed: Cli, tmp_path: Path) -> None:
    done = call_testbed("export", "hpcc", "-t", "three-leaves", "-o", "t.txt")
    assert done.returncode == 0 and "left out: defaults.mtu" in done.stderr and "kinds.switch.buffer" in done.stderr
    refused = call_testbed("export", "clab", "-t", "three-leaves", "-o", "t.clab.yml", "--strict")
    assert refused.returncode == 2 and not (tmp_path / "t.clab.yml").exists()
    assert "three-leaves.yaml:7: left out: kinds.switch.buffer" in refused.stderr
