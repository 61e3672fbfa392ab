"""The conformance suite under the real clock: the same cases, frames of the same bytes on real interfaces, the same judgement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.live.machine import Machine, private_machine

CASES = (
    "pause-lossless",
    "pause-lossy",
    "global-pause",
    "zero-vector",
    "zero-source",
    "pause-quanta",
    "pause-frame",
    "pause-right-peer",
    "pause-queue",
    "group-priorities",
    "late-peer",
    "headroom-pool",
    "line-rate",
    "mixed-speeds",
    "oversubscription",
    "dwrr-live-change",
    "ecn-dequeue",
    "watchdog-storm",
)


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def test_a_sound_switch_passes_in_real_time(machine: Machine, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    chosen = [option for name in CASES for option in ("--only", name)]
    done = machine.run("conformance", "--clock", "real", *chosen, "--format", "json", "--junit", str(report))
    document = json.loads(done.stdout)
    failures = {case["name"]: case["failures"] + case["distrust"] for case in document["cases"]}
    assert not any(failures.values()), failures
    assert done.returncode == 0 and document["clock"] == "real" and document["passed"] == len(CASES)
    assert {case.get("name") for case in ElementTree.parse(report).iter("testcase")} == set(CASES)
    # Each bench was a lab in the system, and is gone.
    assert machine.namespaces() == []


def test_a_lab_that_is_not_lossless_fails_in_real_time(machine: Machine) -> None:
    options = ["-t", "pair", "--set", "lossless.headroom=5KB", "--only", "late-peer"]
    done = machine.run("conformance", "--clock", "real", *options)
    assert done.returncode == 1, done.stderr + done.stdout
    assert "frames lost by a peer at its distance" in done.stdout
