"""A pause storm and the watchdog against it are the same on both clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.clocks import run_on_both

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


def test_storms_and_watchdogs_do_not_depend_on_the_clock(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    computed, real = run_on_both(repo_root, tmp_path, EXPERIMENT, codes=(0, 1))
    for document in (computed, real):
        assert document["verdict"]["complete"]
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
