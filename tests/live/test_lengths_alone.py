"""Lengths without payload under the real clock: frames are as long as ever, and nothing of them is kept."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from testbed._dataplane import RealFabric
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.traffic import COLLECTIVES
from testbed.traffic.collective import Shape
from tests.live.data_plane import forwarding
from tests.live.netns_lab import isolated

pytestmark = pytest.mark.usefixtures("require_root")

LAB = "lengths"
DILATION = 400
PATIENCE_MS = 60_000


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def run(fabric: RealFabric, size: int, payload: bool) -> tuple[dict[str, Any], int]:
    """Run an all-reduce and return the report, and how much more memory is resident at its end than at its beginning."""
    lab, experiment = load_lab(f"pair:name={LAB}"), new_experiment("pair", "all_reduce")
    schedule = COLLECTIVES["all_reduce"].schedule(Shape(2, size // 4, payload=payload))
    before = resident_bytes()
    fabric.load(json.dumps(compile_workload(lab, experiment, schedule)))
    assert fabric.advance(PATIENCE_MS)
    report: dict[str, Any] = json.loads(fabric.report())
    assert report["complete"] and report["violations"] == []
    assert sum(flow["bytes"] for flow in report["flows"]) == sum(schedule.bytes_sent(rank) for rank in range(2))
    assert all(flow["completion_ps"] is not None for flow in report["flows"])
    return report, resident_bytes() - before


@isolated
def test_longer_vectors_take_no_more_memory_and_as_long_as_with_payload() -> None:
    lab, experiment = load_lab(f"pair:name={LAB}"), new_experiment("pair", "all_reduce")
    plan: dict[str, Any] = {**compile_fabric(lab, experiment), "emulation": "native"}
    with forwarding(plan, DILATION, shaped=1) as fabric:
        run(fabric, 1 << 20, payload=False)
        _, grown = run(fabric, 64 << 20, payload=False)
        assert grown < 8 << 20, f"{grown} bytes for vectors of 64 MiB"
        silent, _ = run(fabric, 4 << 20, payload=False)
        checked, _ = run(fabric, 4 << 20, payload=True)
        data = [report["ports"]["a1:eth1"]["priorities"]["3"]["data_frames_tx"] for report in (silent, checked)]
        # Reports count from the first workload on.
        assert data[1] - data[0] == (4 << 20) // 4096
