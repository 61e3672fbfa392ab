"""A lab that was altered behind its owner's back: said, refused or restored, never passed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.machine import Machine, private_machine

BASE = """\
name: base
topology:
  nodes: {a1: {kind: host}, sw: {kind: switch}, b1: {kind: host}}
  links:
    - {endpoints: ['a1:eth1', 'sw:eth1'], rate: 10G, length: 20m}
    - {endpoints: ['b1:eth1', 'sw:eth2'], rate: 10G, length: 20m}
"""
OPTIONS = ("-t", "base.yaml", "--dilation", "1000")
RUN = ("run", "all_reduce", *OPTIONS, "--clock", "real", "-b", "64K", "--format", "json")


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one, with base.yaml up."""
    (tmp_path / "base.yaml").write_text(BASE)
    with private_machine(repo_root, tmp_path) as machine:
        machine.ok("deploy", *OPTIONS)
        yield machine


def execute(machine: Machine, node: str, *command: str) -> None:
    machine.ip("netns", "exec", f"testbed-base-{node}", *command)


def health(machine: Machine) -> dict[str, str]:
    """Return why nodes are not healthy, by node, and insist that the lab is called broken if any is."""
    (lab,) = machine.labs()
    reasons = {node: each["reason"] for node, each in lab["health"].items() if each["state"] != "healthy"}
    assert lab["state"] == ("broken" if reasons else "running")
    return reasons


def ping(machine: Machine) -> bool:
    return machine.run("exec", "--name", "base", "a1", "--", "ping", "-c1", "-W20", "b1").returncode == 0


def assert_whole(machine: Machine) -> None:
    assert "was up already" in machine.ok("deploy", *OPTIONS)
    assert ping(machine)


def test_an_interface_that_was_down_is_reported_and_restored(machine: Machine) -> None:
    execute(machine, "a1", "ip", "link", "set", "eth1", "down")
    execute(machine, "a1", "ip", "link", "set", "eth1", "up")
    lost = "eth1 lacks its route to 198.18.0.0/15; eth1 lacks its neighbour 198.19.0.2"
    assert health(machine) == {"a1": lost}
    late = machine.run("wait-for", "--name", "base", "--timeout", "0s")
    assert (late.returncode, late.stdout) == (1, f"lab base: not healthy within 0s: a1: {lost}\n")
    planned = machine.ok("deploy", *OPTIONS, "--dry-run")
    assert planned == f"not as planned: a1: {lost}\nlab base would be restored\n"
    assert "is as planned again" in machine.ok("deploy", *OPTIONS)
    assert_whole(machine)


def test_a_run_mends_its_lab_before(machine: Machine) -> None:
    execute(machine, "a1", "ip", "neigh", "flush", "dev", "eth1", "nud", "permanent")
    execute(machine, "sw", "ip", "link", "set", "eth2", "down")
    assert health(machine).keys() == {"a1", "b1", "sw"}
    done = machine.run_carried(*RUN)
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)["verdict"]
    assert verdict["correct"] and verdict["lossless"], verdict
    assert_whole(machine)


def carriers(machine: Machine) -> list[bool]:
    """Return whether the ends of the link of a1 have a carrier, as their kernels have it."""
    have_carrier = []
    for node in ("a1", "sw"):
        mount = f"--mount=/proc/{machine.holder}/ns/mnt"
        command = ["nsenter", mount, "ip", "-n", f"testbed-base-{node}", "-j", "link", "show", "eth1"]
        (link,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        have_carrier.append("LOWER_UP" in link["flags"])
    return have_carrier


def test_a_link_that_is_taken_down_loses_its_carrier_at_both_ends(machine: Machine) -> None:
    machine.ok("impair", "set", "--name", "base", "sw:eth1", "--down", "--direction", "out")
    assert carriers(machine) == [True, True], "a link that carries one way has a carrier"
    machine.ok("impair", "set", "--name", "base", "a1:eth1", "--down")
    assert carriers(machine) == [False, False]
    assert health(machine) == {}, "it was asked for"
    # Mending something else leaves it as it was asked for.
    execute(machine, "b1", "ip", "neigh", "flush", "dev", "eth1", "nud", "permanent")
    assert "is as planned again" in machine.ok("deploy", *OPTIONS)
    assert carriers(machine) == [False, False]
    machine.ok("impair", "set", "--name", "base", "a1:eth1", "--up")
    assert carriers(machine) == [True, True]
    assert_whole(machine)
