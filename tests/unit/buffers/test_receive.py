"""NICs that take in what comes at a rate of their own: what a lab says of them, and the plan that comes of it."""

import json
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.buffers.headroom import headroom
from testbed.errors import TopologyError
from testbed.experiment.file import new_experiment
from testbed.lab.hosts import Host
from testbed.lab.topology import Lab, lab_from
from testbed.plan.compile import compile_fabric
from testbed.schema.source import Source, parse_yaml

Json = dict[str, Any]
FRAME_BYTES = 4218


def lab_of(nic: Json, kinds: Json | None = None, **link: Any) -> Lab:
    """Return a lab of two hosts at a switch, the first of which has this NIC, and its link these settings."""
    nodes = {"a1": {"kind": "host", "nic": nic}, "b1": {"kind": "host"}, "sw": {"kind": "switch", "buffer": "auto"}}
    links = [{"endpoints": ["a1:eth1", "sw:eth1"], **link}, {"endpoints": ["b1:eth1", "sw:eth2"]}]
    return lab_from(Source("x", {"name": "x", "topology": {"kinds": kinds or {}, "nodes": nodes, "links": links}}))


def planned(lab: Lab, *overrides: str) -> Json:
    """Return what the plan says of the first host's receive buffer, having had the data plane read it."""
    plan = compile_fabric(lab, new_experiment("x", "incast").with_overrides(overrides))
    VirtualFabric(json.dumps(plan))
    receive: Json = plan["nodes"][0].get("receive", {})
    assert "receive" not in plan["nodes"][1]
    return receive


def test_a_nic_takes_in_whatever_comes_unless_it_has_a_drain_rate() -> None:
    assert planned(lab_of({"rate": "100G"})) == {}
    host = lab_of({"buffer": "1MB"}, {"host": {"nic": {"drain": "40G"}}}).nodes[0]
    assert isinstance(host, Host) and host.nic_rate_bps == 100 * 10**9
    assert host.receive is not None and (host.receive.drain_bps, host.receive.buffer_bytes) == (40 * 10**9, 10**6)


@pytest.mark.parametrize("delay", ["1us", "100us"])
def test_thresholds_leave_the_headroom_of_the_link(delay: str) -> None:
    lab = lab_of({"drain": "50G", "buffer": "10MB"}, delay=delay)
    needed = headroom(10**11, lab.links[0].delay_ps, FRAME_BYTES, None).total_bytes + FRAME_BYTES
    xoff = 10**7 - needed
    assert planned(lab) == {
        "drain_bps": 50 * 10**9,
        "buffer_bytes": 10**7,
        "xoff_bytes": xoff,
        "xon_bytes": xoff - 2 * FRAME_BYTES,
        "priority": 3,
    }
    auto = planned(lab_of({"drain": "50G"}, delay=delay))
    assert auto["buffer_bytes"] - auto["xoff_bytes"] == needed and auto["xoff_bytes"] == max(100_000, needed)


def test_what_is_given_is_taken() -> None:
    given = {"drain": "50G", "buffer": "300KB", "xoff": "290KB", "xon": "10KB"}
    assert planned(lab_of(given)) == {
        "drain_bps": 50 * 10**9,
        "buffer_bytes": 300_000,
        "xoff_bytes": 290_000,
        "xon_bytes": 10_000,
        "priority": 3,
    }
    assert "priority" not in planned(lab_of(given), "lossless.pfc=false")
    assert "priority" not in planned(lab_of(given, **{"flow-control": "none"}))


def test_credits_are_what_the_buffer_holds() -> None:
    lab = lab_of({"drain": "50G", "buffer": "100KB"}, delay="100us", **{"flow-control": "credit"})
    plan = compile_fabric(lab, new_experiment("x", "incast"))
    # The way from the switch to the host.
    grants = plan["links"][0]["credits"][1]
    assert [grant["blocks"] * grant["block_bytes"] for grant in grants] == [100_000 // 64 * 64]
    assert plan["nodes"][0]["receive"]["buffer_bytes"] == 100_000
    roomy = compile_fabric(lab_of({"drain": "50G"}, **{"flow-control": "credit"}), new_experiment("x", "incast"))
    granted = sum(grant["blocks"] * grant["block_bytes"] for grant in roomy["links"][0]["credits"][1])
    assert roomy["nodes"][0]["receive"]["buffer_bytes"] == granted + 100_000


def test_a_buffer_that_cannot_hold_the_headroom_is_refused_by_name() -> None:
    lab = lab_of({"drain": "50G", "buffer": "1MB"}, delay="100us")
    needed = headroom(10**11, 100 * 10**6, FRAME_BYTES, None).total_bytes + FRAME_BYTES
    with pytest.raises(TopologyError, match=rf"nodes\.a1\.nic\.buffer.* headroom of a1:eth1 priority 3 {needed} bytes"):
        planned(lab)
    assert planned(lab, "lossless.pfc=false")["buffer_bytes"] == 10**6


FAULTS = """name: x
topology:
  nodes:
    a1: {kind: host, nic: {buffer: 1MB}}
    a2: {kind: host, nic: {drain: 50G, xoff: 10KB, xon: 20KB}}
    a3: {kind: host, nic: {drain: 50G, buffer: 5KB, xoff: 10KB}}
    sw: {kind: switch}
  links:
    - {endpoints: ["a1:eth1", "sw:eth1"]}
    - {endpoints: ["a2:eth1", "sw:eth2"]}
    - {endpoints: ["a3:eth1", "sw:eth3"]}
"""


def test_faults_of_a_lab_have_their_line() -> None:
    with pytest.raises(TopologyError) as caught:
        lab_from(parse_yaml(FAULTS, "x.yaml", TopologyError))
    assert str(caught.value).splitlines() == [
        "x.yaml:4: topology.nodes.a1.nic: buffer is of no use to a NIC that takes in whatever comes; give a drain rate",
        "x.yaml:5: topology.nodes.a2.nic: xon, 20000 bytes, is above xoff, 10000 bytes",
        "x.yaml:6: topology.nodes.a3.nic: xoff, 10000 bytes, is above buffer, 5000 bytes",
    ]
