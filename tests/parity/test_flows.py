"""Flows under both clocks: the same frames, and the same time of every flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.clocks import TOLERANCE, run_on_both

FLOWS = """
topology: "clos:spines=1,leaves=2,hosts=2"
flows:
  list:
    - {from: h1, to: h3, bytes: 1MiB}
    - {from: h2, to: h3, bytes: 512KiB, start: 20us}
    - {from: h1, to: h3, bytes: 256KiB, start: 100us}
    - {from: h4, to: h1, bytes: 768KiB, start: 1ms}
"""


def test_both_clocks_report_the_same_flows(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    computed, real = run_on_both(repo_root, tmp_path, FLOWS)
    assert real["verdict"] == computed["verdict"] and real["verdict"]["lossless"]
    for expected, measured in zip(computed["flow_completion"]["flows"], real["flow_completion"]["flows"], strict=True):
        assert [measured[key] for key in ("src", "dst", "bytes", "start_us", "alone_us")] == [
            expected[key] for key in ("src", "dst", "bytes", "start_us", "alone_us")
        ]
        assert measured["fct_us"] == pytest.approx(expected["fct_us"], rel=TOLERANCE)
