"""Series under both clocks: the same ports, queue pairs and ranks, and the same counts at the end."""

from __future__ import annotations

import json
from pathlib import Path

from testbed.timeseries import Key, TimeSeries, read
from tests.live.machine import Machine, private_machine

EXPERIMENT = """
topology: "incast:senders=2"
workload: {collective: incast, size: 1MB, payload: false}
lossless: {ecn: {kmin: 20KB, kmax: 200KB, pmax: 0.2}}
transport: {congestion-control: dcqcn}
series: auto
"""


def recorded(machine: Machine, folder: Path, clock: str) -> tuple[dict[str, object], TimeSeries]:
    """Run the experiment on one clock; return run.json and the series beside it."""
    out = folder / clock
    done = machine.run_carried("run", str(folder / "experiment.yaml"), "--clock", clock, "--out", str(out))
    assert done.returncode == 0, done.stderr
    series = read(out)
    assert series is not None
    return json.loads((out / "run.json").read_text()), series


def test_both_clocks_record_the_same_things(repo_root: Path, tmp_path: Path, require_root: None) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    with private_machine(repo_root, tmp_path) as machine:
        (_, computed), (result, real) = (recorded(machine, tmp_path, clock) for clock in ("virtual", "real"))
    sent = [{key for key in series if key.quantity in ("bytes_tx", "step")} for series in (computed, real)]
    # Kernels of hosts may say something of their own on other priorities.
    assert {key for key in sent[1] if key.priority in (3, -1)} == {key for key in sent[0] if key.priority in (3, -1)}
    assert [{key.name for key in series if key.kind == "qp"} for series in (computed, real)].count(set()) == 0
    for key in sent[0]:
        assert computed.values(key)[-1] > 0
        if key.quantity == "step":
            assert real.values(key)[-1] == computed.values(key)[-1], key
    ports = result["ports"]
    assert isinstance(ports, dict)
    for name, port in ports.items():
        for number, counters in port["priorities"].items():
            for quantity, told in (("bytes_tx", "bytes_tx"), ("marked", "ecn_marked"), ("queue_bytes", "queue_bytes")):
                values = real.values(Key("port", name, int(number), quantity))
                assert int(values[-1]) == counters[told], (name, number, quantity)
            queue = real.values(Key("port", name, int(number), "queue_bytes"))
            assert int(queue.max()) <= counters["queue_bytes_max"]
    hub = max((key for key in real if key.quantity == "queue_bytes"), key=lambda key: int(real.values(key).max()))
    assert hub in list(computed)
