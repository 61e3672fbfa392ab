"""Traces under both clocks: the same messages, and the same times of every iteration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.machine import private_machine
from tests.parity.clocks import TOLERANCE, run_on

GOAL = """num_ranks 2
rank 0 {
work: calc 300000
grad: send 262144b to 1 tag 1
grad requires work
sum: recv 262144b from 1 tag -1
}
rank 1 {
any: recv 262144b from -1 tag 1
add: calc 100000
add requires any
sum: send 262144b to 0 tag 2
sum requires add
}
"""
TRACES = """{"workload_graph": [
  {"Id": 0, "NodeType": 4, "runtime": 200},
  {"Id": 1, "NodeType": 7, "data_deps": [0], "comm_type": 0, "comm_size": 262144}
]}
"""


def test_both_clocks_replay_the_same_traces(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    """One of GOAL, with a receive of any source and one of any tag, beside one of Chakra with a collective."""
    (tmp_path / "step.goal").write_text(GOAL)
    for rank in range(2):
        (tmp_path / f"ring.{rank}.json").write_text(TRACES)
    files = ("step.goal", "ring.0.json", "ring.1.json")
    options = ("-t", "clos:spines=1,leaves=2,hosts=2", "--ranks", "h1,h3", "--ranks", "h2,h4", "--iterations", "2")
    with private_machine(repo_root, tmp_path) as machine:
        computed, real = (run_on(machine, clock, *files, *options, verb="replay") for clock in ("virtual", "real"))
    assert real["verdict"] == computed["verdict"] and real["verdict"]["lossless"]
    assert [job["name"] for job in real["jobs"]] == ["step", "ring"]
    sent = [{(flow["src"], flow["dst"], flow["bytes"]) for flow in each["flows"]} for each in (computed, real)]
    assert (
        sent[0]
        == sent[1]
        == {(*ends, 2**19) for one, other in (("h1", "h3"), ("h2", "h4")) for ends in ((one, other), (other, one))}
    )
    for expected, measured in zip(computed["jobs"], real["jobs"], strict=True):
        assert len(measured["iterations"]) == len(expected["iterations"]) == 2
        for there, here in zip(expected["iterations"], measured["iterations"], strict=True):
            assert here["time_us"] == pytest.approx(there["time_us"], rel=TOLERANCE)
