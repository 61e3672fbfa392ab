"""Credits under both clocks: the same frames, and the same time, which a window of 128 KiB over 10 km makes far longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.live.machine import Machine, private_machine
from tests.parity.clocks import TOLERANCE, run_on

CREDITS = ("--set", "lossless.flow-control=credit", "--set", "lossless.credits=128KiB")


def run(machine: Machine, clock: str, *settings: str) -> dict[str, Any]:
    """Send 4 MB from host to host over 10 km."""
    return run_on(machine, clock, "incast", "-t", "pair:length=10km", "--set", "workload.size=4M", *settings)


def test_credits_limit_both_clocks_alike(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    with private_machine(repo_root, tmp_path) as machine:
        paused = run(machine, "virtual")
        computed = run(machine, "virtual", *CREDITS)
        real = run(machine, "real", *CREDITS)
    assert real["verdict"] == computed["verdict"] and real["verdict"]["lossless"] and real["verdict"]["correct"]
    times = [document["collective"]["rows"][0]["time_us"] for document in (paused, computed, real)]
    assert times[1] > 4 * times[0]
    assert times[2] == pytest.approx(times[1], rel=TOLERANCE)
    sender = {
        clock: document["ports"]["b1:eth1"]["priorities"]["3"] for clock, document in (("v", computed), ("r", real))
    }
    assert sender["r"]["data_frames_tx"] == sender["v"]["data_frames_tx"]
    assert sender["r"]["credit_wait_ns"] == pytest.approx(sender["v"]["credit_wait_ns"], rel=2 * TOLERANCE)
    assert sender["r"]["credit_rx"] > 500 and sender["r"]["pause_rx"] == 0
