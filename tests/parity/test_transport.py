"""What NICs do about losses, late receives and slow receivers is the same on both clocks, in real frames as in computed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.clocks import TOLERANCE, Json, run_on_both

ERASURE = """\
topology: lab.yaml
emulation: native
workload: {collective: all_reduce, size: 4MB}
transport: {recovery: erasure, erasure: {data: 16, parity: 8}}
"""
LATE = """\
topology: lab.yaml
workload: {collective: all_reduce, size: 1MB, late: {b1: 2ms}}
transport: {verb: send, receive-queue: posted}
"""
SLOW = """\
topology: lab.yaml
workload: {collective: incast, size: 4MB, ranks: [b1, a1]}
transport: {window: 4MB}
"""


def lab(loss: float = 0, nic: str = "{rate: 100G}") -> str:
    return f"""\
name: transport
topology:
  nodes:
    a1: {{kind: host}}
    b1: {{kind: host, nic: {nic}}}
    leaf: {{kind: switch, buffer: auto}}
  links:
    - {{endpoints: ["a1:eth1", "leaf:eth1"], length: 20km, loss: {loss}}}
    - {{endpoints: ["b1:eth1", "leaf:eth2"], length: 1km}}
"""


def both(root: Path, folder: Path, experiment: str, network: str) -> tuple[Json, Json]:
    """Run an experiment on a network on both clocks, which agree on the verdict and on times."""
    (folder / "lab.yaml").write_text(network)
    computed, real = run_on_both(root, folder, experiment, codes=(0, 1))
    assert real["verdict"] == computed["verdict"] and real["verdict"]["correct"]
    for key in ("time_us", "wrong"):
        expected, measured = (document["collective"]["rows"][0][key] for document in (computed, real))
        assert measured == pytest.approx(expected, rel=TOLERANCE)
    return computed, real


def test_losses_are_made_up_for_by_parity(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    """Payload that was lost is rebuilt from real frames: equal to numpy's sum, and nothing sent again.

    Nine of the 24 packets of a block, which could not be rebuilt, are lost less than once in 10^11.
    """
    computed, real = both(repo_root, tmp_path, ERASURE, lab(loss=0.01))
    for document in (computed, real):
        assert sum(qp["erasure"]["recovered"] for qp in document["qps"]) > 5
        assert all(qp["retransmitted"] == qp["naks_rx"] == 0 for qp in document["qps"])
    coded = [
        [(qp["packets_tx"], qp["erasure"]["parity_tx"]) for qp in document["qps"]] for document in (computed, real)
    ]
    assert coded[0] == coded[1]


def test_a_late_rank_is_waited_for(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    computed, real = both(repo_root, tmp_path, LATE, lab())
    naks = [[qp["rnr_naks_rx"] for qp in document["qps"]] for document in (computed, real)]
    assert naks[0] == naks[1] and sum(naks[0]) >= 2


def test_a_slow_nic_pauses_and_loses_nothing(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    computed, real = both(repo_root, tmp_path, SLOW, lab(nic="{drain: 40G, buffer: 1MB}"))
    for document in (computed, real):
        assert document["verdict"]["passed"] and not any(document["drops"].values())
        nic, peer = (document["ports"][port]["priorities"]["3"] for port in ("b1:eth1", "leaf:eth2"))
        assert nic["pause_tx"] == peer["pause_rx"] > 3
    held, paused = (
        [document["ports"][port]["priorities"]["3"][key] for document in (computed, real)]
        for port, key in (("b1:eth1", "ingress_bytes_max"), ("leaf:eth2", "paused_ns"))
    )
    assert held[1] == pytest.approx(held[0], rel=TOLERANCE) and paused[1] == pytest.approx(paused[0], rel=2 * TOLERANCE)
