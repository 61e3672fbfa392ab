"""Marked tests side by side: each has a lab of its own, and nobody's lab is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.machine import Machine, private_machine

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(240)]

TESTS = """
import pytest
from testbed import Lab

@pytest.mark.testbed(topology="pair", dilation=2000)
@pytest.mark.parametrize("number", range(4))
def test_it(lab, number):
    assert lab.exec("a1", "true").returncode == 0
    assert lab.inspect()["state"] == "running"
    with pytest.raises(Exception, match="up already"):
        Lab.deploy("pair", name=lab.name, exclusive=True, dilation=2000)
    assert lab.inspect()["state"] == "running"

def test_a_lab_that_was_up_before_stays():
    with Lab.deploy("pair", dilation=2000, settings={"lossless.pfc": False}) as lab:
        assert lab.name == "pair"
"""


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path) -> Iterator[Machine]:
    """Give a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def test_four_workers_get_a_lab_each_beside_that_of_somebody_else(machine: Machine, repo_root: Path) -> None:
    machine.ok("deploy", "-t", "pair", "--dilation", "2000")
    (machine.directory / "test_labs.py").write_text(TESTS)
    enter = ["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", f"--wd={machine.directory}"]
    # As a user of the package has it: the plugin comes with it.
    words = ["-m", "pytest", "-q", "-n", "4", "-p", "no:cacheprovider", "test_labs.py"]
    environment = {**os.environ, "PYTHONPATH": str(repo_root), "XDG_CACHE_HOME": str(machine.directory / "cache")}
    done = subprocess.run(
        [*enter, sys.executable, *words], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    assert [(lab["lab"], lab["state"]) for lab in machine.labs()] == [("pair", "running")]
