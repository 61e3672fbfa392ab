"""A generator under the real clock: its frames are on real interfaces, and a paused class stands still there too."""

from __future__ import annotations

import os
import time
from pathlib import Path

import snappi

from testbed.experiment.file import new_experiment
from testbed.otg.serving import serving
from tests.virtual.otg import data_flow, flow_metrics, lossless_ports, pause_flow, transmit

LAB = """
name: otg
topology:
  nodes:
    h1: {kind: host}
    h2: {kind: host}
    leaf: {kind: switch, lossless: [3, 4]}
  links:
    - {endpoints: ["h1:eth1", "leaf:eth1"], delay: 1us}
    - {endpoints: ["h2:eth1", "leaf:eth2"], delay: 1us}
"""
PATIENCE_S = 60


def until_stopped(api: snappi.Api, name: str) -> snappi.FlowMetric:
    """Wait until all of a flow has been sent and has arrived."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        metrics = flow_metrics(api)[name]
        if metrics.transmit == "stopped" and metrics.frames_rx == metrics.frames_tx:
            return metrics
        assert time.monotonic() < deadline, metrics
        time.sleep(0.05)


def test_flows_run_on_real_interfaces(tmp_path: Path) -> None:
    lab = tmp_path / "otg.yaml"
    lab.write_text(LAB, encoding="utf-8")
    experiment = new_experiment(str(lab), "all_reduce")
    with serving(experiment, f"otg-{os.getpid()}", "real", "127.0.0.1:0", True, None, "5000") as server:
        api = snappi.api(location=server.url)
        config = api.config()
        lossless_ports(config, "h1", "h2")
        lossless = data_flow(config, "h1", "h2", 3)
        lossless.duration.fixed_packets.packets = 200
        lossless.duration.fixed_packets.delay.microseconds = 50
        other = data_flow(config, "h1", "h2", 0)
        other.duration.fixed_packets.packets = 200
        other.duration.fixed_packets.delay.microseconds = 50
        # One pause of 336 us, from before the data comes until long after.
        pause_flow(config, "h2", 3).duration.fixed_packets.packets = 1
        api.set_config(config)
        transmit(api)
        held, free = (until_stopped(api, flow.name) for flow in (lossless, other))
        api._transport._session.close()
    assert (held.frames_rx, held.loss, free.frames_rx, free.loss) == (200, 0, 200, 0)
    assert free.timestamps.last_timestamp_ns < held.timestamps.first_timestamp_ns
    assert held.timestamps.first_timestamp_ns - free.timestamps.first_timestamp_ns > 200_000
