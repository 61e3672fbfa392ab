"""Buffers that wait in a circle are told of alike, whether time is computed or real."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live.machine import private_machine

EXPERIMENT = Path("topologies") / "experiments" / "deadlock-ring.yaml"
# A rate that any machine keeps up with, and no retries: the run is given up soon after nothing moves any more.
SLOW = ("-t", "ring:routing=clockwise,rate=1G", "--set", "transport.retries=0", "--format", "json")


def test_both_clocks_report_the_same_deadlock(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    with private_machine(repo_root, tmp_path) as machine:
        for clock in (("--clock", "virtual"), ("--clock", "real", "--dilation", "10")):
            done = machine.run_carried("run", str(repo_root / EXPERIMENT), *clock, *SLOW)
            assert done.returncode == 1, done.stderr + done.stdout[-2000:]
            assert "warning: " in done.stderr and "buffers can wait in a circle on priority 3" in done.stderr
            document = json.loads(done.stdout)
            (deadlock,) = document["deadlocks"]
            assert deadlock["ports"] == ["switch1:eth2", "switch2:eth3", "switch3:eth3"]
            assert (deadlock["priority"], deadlock["cured_ns"]) == (3, None)
            verdict = document["verdict"]
            assert verdict["deadlock"] and verdict["trusted"] and verdict["lossless"] and not verdict["complete"]
