"""Jobs under both clocks: the same frames, and the same times of every iteration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.clocks import TOLERANCE, run_on_both

JOBS = """
topology: "clos:spines=1,leaves=2,hosts=2"
jobs:
  - {name: one, ranks: [h1, h3], repeat: 2, program: [{compute: 400us}, {all_reduce: 1MiB}]}
  - name: two
    ranks: [h2, h4]
    start: 200us
    program: [{all_reduce: 1MiB, id: grads}, {compute: 100us}, {wait: grads}, {send: 256KiB, from: 1, to: 0}]
"""


def test_both_clocks_report_the_same_jobs(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    computed, real = run_on_both(repo_root, tmp_path, JOBS)
    assert real["verdict"] == computed["verdict"] and real["verdict"]["lossless"]
    assert real["makespan_us"] == pytest.approx(computed["makespan_us"], rel=TOLERANCE)
    for expected, measured in zip(computed["jobs"], real["jobs"], strict=True):
        assert len(measured["iterations"]) == len(expected["iterations"])
        for there, here in zip(expected["iterations"], measured["iterations"], strict=True):
            assert here["time_us"] == pytest.approx(there["time_us"], rel=TOLERANCE)
            assert here["exposed_us"] == pytest.approx(
                there["exposed_us"], rel=TOLERANCE, abs=there["time_us"] * TOLERANCE
            )
