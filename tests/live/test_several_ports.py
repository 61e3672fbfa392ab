"""Hosts with several ports in the kernel: an interface for each, which comes and goes by itself, and carries its queue pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.machine import Machine, private_machine


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def write(path: Path, links: int) -> list[str]:
    """Write two hosts down with so many links side by side; return the options that name the lab."""
    nodes = {name: {"kind": "host", "accelerators": 2} for name in ("a", "b")}
    ends = [{"endpoints": [f"a:eth{number}", f"b:eth{number}"], "rate": "10G"} for number in range(1, links + 1)]
    path.write_text(json.dumps({"name": "sides", "topology": {"nodes": nodes, "links": ends}}))
    return ["-t", str(path), "--dilation", "100"]


def interfaces(machine: Machine, node: str) -> dict[str, str]:
    """Return the address of each interface of a node but lo."""
    document: list[Any] = json.loads(machine.ok("exec", "--name", "sides", node, "--", "ip", "-j", "-4", "addr"))
    return {entry["ifname"]: entry["addr_info"][0]["local"] for entry in document if entry["ifname"] != "lo"}


def test_a_port_comes_and_goes_while_the_other_stays(machine: Machine, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.yaml", 1), write(tmp_path / "two.yaml", 2)
    machine.ok("deploy", *one)
    before = interfaces(machine, "a")
    assert list(before) == ["eth1"]
    machine.ok("deploy", *two)
    both = interfaces(machine, "a")
    assert list(both) == ["eth1", "eth2"] and both["eth1"] == before["eth1"] != both["eth2"]
    assert not json.loads(machine.ok("deploy", *two, "--format", "json"))["changed"]
    settings = ("--set", "transport.port=[eth1, eth2]", "--set", "transport.qps=2", "--set", "transport.spread=slices")
    done = machine.run_carried("run", "all_reduce", *two, "--clock", "real", "-b", "64K", *settings, "--format", "json")
    assert done.returncode == 0, done.stderr
    result: Any = json.loads(done.stdout)
    assert result["verdict"]["lossless"] and result["verdict"]["correct"], result["verdict"]
    sent = [result["ports"][f"a:eth{number}"]["priorities"]["3"]["data_frames_tx"] for number in (1, 2)]
    assert sent[0] == sent[1] > 0
    machine.ok("deploy", *one)
    assert interfaces(machine, "a") == before
    (lab,) = machine.labs()
    assert lab["state"] == "running"
