"""Flows under both clocks: the same frames, and the same time of every flow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.live.machine import private_machine

TOLERANCE = 0.05

FLOWS = """
topology: "clos:spines=1,leaves=2,hosts=2"
flows:
  list:
    - {from: h1, to: h3, bytes: 1MiB}
    - {from: h2, to: h3, bytes: 512KiB, start: 20us}
    - {from: h1, to: h3, bytes: 256KiB, start: 100us}
    - {from: h4, to: h1, bytes: 64KiB, start: 1ms}
"""


def test_both_clocks_report_the_same_flows(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    documents: dict[str, dict[str, Any]] = {}
    with private_machine(repo_root, tmp_path) as machine:
        (tmp_path / "flows.yaml").write_text(FLOWS)
        for clock in ("virtual", "real"):
            done = machine.run_carried("run", str(tmp_path / "flows.yaml"), "--clock", clock, "--format", "json")
            assert done.returncode == 0, done.stderr + done.stdout[-2000:]
            documents[clock] = json.loads(done.stdout)
    computed, real = documents["virtual"], documents["real"]
    assert real["verdict"] == computed["verdict"] and real["verdict"]["lossless"]
    for expected, measured in zip(computed["flow_completion"]["flows"], real["flow_completion"]["flows"], strict=True):
        assert [measured[key] for key in ("src", "dst", "bytes", "start_us", "alone_us")] == [
            expected[key] for key in ("src", "dst", "bytes", "start_us", "alone_us")
        ]
        assert measured["fct_us"] == pytest.approx(expected["fct_us"], rel=TOLERANCE)
