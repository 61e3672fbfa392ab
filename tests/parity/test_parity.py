"""The two clocks run one network: the same frames by port and priority, and the same times, whether computed or real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.live.machine import Machine, private_machine
from tests.parity.clocks import TOLERANCE, run_on

CASES = {
    "all-reduce over 80 km": ("all_reduce", "two-dc", "1M", "4M"),
    "all-reduce in a clos": ("all_reduce", "clos:spines=2,leaves=2,hosts=2", "1M", "1M"),
    "all-reduce over optics": ("all_reduce", "two-dc:profile=100g-zr,local-profile=100g-dr1,length=40km", "1M", "1M"),
    "all-reduce over a span in memory": ("all_reduce", "memory-span", "1M", "1M"),
    "all-to-all over two rails": ("all_to_all", "rail:servers=2,accelerators=2,spines=1,rate=100G", "1M", "1M"),
    "incast under PFC": ("incast", "incast:senders=3", "1M", "1M"),
}


def run(machine: Machine, clock: str, collective: str, topology: str, low: str, high: str) -> dict[str, Any]:
    """Run one case on one clock."""
    sizes = ("-b", low, "-e", high, "-f", "4")
    return run_on(machine, clock, collective, "-t", topology, *sizes)


def data_frames(document: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Return the data frames that each port sent, by priority."""
    return {
        (port, priority): counters["data_frames_tx"]
        for port, state in document["ports"].items()
        for priority, counters in state["priorities"].items()
        if counters["data_frames_tx"]
    }


@pytest.mark.parametrize("case", CASES)
def test_both_clocks_report_the_same(case: str, repo_root: Path, tmp_path: Path, require_root: None) -> None:
    with private_machine(repo_root, tmp_path) as machine:
        computed = run(machine, "virtual", *CASES[case])
        real = run(machine, "real", *CASES[case])
    assert real["verdict"] == computed["verdict"]
    assert real["verdict"]["lossless"] and real["verdict"]["correct"]
    assert data_frames(real) == data_frames(computed)
    for expected, measured in zip(computed["collective"]["rows"], real["collective"]["rows"], strict=True):
        assert measured["time_us"] == pytest.approx(expected["time_us"], rel=TOLERANCE)
        assert measured["wrong"] == expected["wrong"] == 0
