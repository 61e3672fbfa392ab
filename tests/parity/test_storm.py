"""A pause storm and the watchdog against it are the same on both clocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.live.machine import Machine, private_machine

# Two MB through a port that is paused for half of every 100 us; then, when it is done, nothing but a storm.
EXPERIMENT = """\
topology: pair
seed: 7
workload: {collective: incast, size: 2MiB, iterations: 2, ranks: [b1, a1]}
lossless: {watchdog: {detection: 150us, restoration: 50us, poll: 50us}}
timeline:
  - {at: 0s, node: b1, storm: {period: 100us, duty: 0.5}, for: 500us}
  - {at: 500us, node: b1, storm: {}, for: 300us}
"""


def run(machine: Machine, path: Path, clock: str) -> dict[str, Any]:
    done = machine.run_carried("run", str(path), "--clock", clock, "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["verdict"]["trusted"] and document["verdict"]["complete"], document["verdict"]
    return document


def test_storms_and_watchdogs_do_not_depend_on_the_clock(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    path = tmp_path / "storm.yaml"
    path.write_text(EXPERIMENT)
    with private_machine(repo_root, tmp_path) as machine:
        computed, real = run(machine, path, "virtual"), run(machine, path, "real")
    for document in (computed, real):
        [storm] = document["watchdog"]
        assert (storm["port"], storm["cause"]) == ("leaf:eth2", "storm")
        assert "timeline[1]" in storm["explanation"]
        since_ns, detected_ns = storm["paused_since_ns"], storm["detected_ns"]
        assert 150_000 < detected_ns - since_ns <= 200_000, "within (detection, detection + poll]"
        assert storm["dropped"] == document["ports"]["leaf:eth2"]["priorities"]["3"]["drops"]["watchdog"] > 0
        assert storm["restored_ns"] > 800_000
    first = [document["watchdog"][0]["paused_since_ns"] for document in (computed, real)]
    assert first[1] == pytest.approx(first[0], rel=0.02)
    frames = [document["ports"]["b1:eth1"]["priorities"]["3"]["pause_tx"] for document in (computed, real)]
    assert frames[0] == frames[1], "as many PAUSE frames"
