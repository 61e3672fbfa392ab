"""A link that fails for good, and tables that converge without it, are the same on both clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.clocks import run_on_both

EXPERIMENT = """\
topology: clos:spines=2,leaves=2,hosts=2
seed: 7
workload: {collective: all_to_all, size: 4MiB, in-place: false}
timeline:
  - {at: 100us, link: "leaf1:eth3", impair: {down: true}}
"""


def frames(document: dict[str, Any], port: str) -> int:
    return sum(entry["frames_tx"] for entry in document["ports"][port]["priorities"].values())


def test_a_failed_spine_link_does_not_depend_on_the_clock(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    computed, real = run_on_both(repo_root, tmp_path, EXPERIMENT)
    for document in (computed, real):
        assert document["verdict"]["complete"]
        assert {cause for cause, count in document["drops"].items() if count} == {"outage"}
        [rerouted] = [row for row in document["impairments"] if "rerouted" in row["set"]]
        assert rerouted["asked_ns"] == 1.1e6 and rerouted["at_ns"] == pytest.approx(1.1e6, rel=0.01)
        assert rerouted["set"] == {"rerouted": 12}
    for port in ("spine2:eth1", "spine2:eth2"):
        assert frames(real, port) == pytest.approx(frames(computed, port), rel=0.05)
