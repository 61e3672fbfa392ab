"""A file of containerlab is deployed as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.machine import private_machine

pytestmark = [pytest.mark.timeout(120)]

CLAB = """\
name: small
topology:
  nodes: {h1: {kind: linux, type: a}, h2: {kind: linux}, br: {kind: bridge}}
  links:
    - {endpoints: ["h1:eth1", "br:eth1"], vars: {rate: 10G, length: 10m}}
    - {endpoints: ["h2:eth1", "br:eth2"], vars: {rate: 10G, length: 10m}}
"""


def test_a_file_of_containerlab_is_deployed_as_it_is(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    (tmp_path / "small.clab.yml").write_text(CLAB)
    with private_machine(repo_root, tmp_path) as machine:
        file = str(tmp_path / "small.clab.yml")
        done = machine.run("deploy", file, "--dilation", "1000")
        assert done.returncode == 0, done.stderr
        assert "took 2 hosts, 1 switch, 2 links; left out: type of nodes (small.clab.yml:3)" in done.stderr
        assert machine.run("exec", "--name", "small", "h1", "--", "ping", "-c", "1", "h2").returncode == 0
        assert "was up already" in machine.run("deploy", file).stdout
        assert machine.run("destroy", "--name", "small").returncode == 0
