"""Scripts of snappi for the watchdog, marks and headroom: each passes on a sound switch, and finds one that lacks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import snappi

from testbed import pcapng
from testbed.conformance.frames import checksum
from testbed.contract.plan import Plan
from tests.virtual.otg import (
    data_flow,
    defective,
    flow_metrics,
    lossless_ports,
    pause_flow,
    served,
    switch_lab,
    transmit,
)

WATCHDOG = ("lossless.watchdog={detection: 400us, restoration: 300us, poll: 100us}",)
ECN = ("lossless.ecn={kmin: 40KB, kmax: 100KB, pmax: 1}",)


def _edited(plan: Plan, change: Callable[[Any], None]) -> Plan:
    """Return a plan whose switch is changed."""
    changed = copy.deepcopy(plan)
    change(next(node for node in changed["nodes"] if node["kind"] == "switch"))
    return changed


def _configured(api: snappi.Api) -> Any:
    config = api.config()
    lossless_ports(config, "h1", "h2")
    return config


def watchdog(api: snappi.Api) -> None:
    """A storm longer than detection makes the switch drop its class, and after restoration nothing is lost any more."""
    config = _configured(api)
    during, after, other = (data_flow(config, "h1", "h2", each, percent=10) for each in (3, 3, 4))
    during.name, after.name, other.name = "during", "after", "other"
    for flow, delay_us in ((during, 0), (after, 3000), (other, 0)):
        flow.duration.fixed_seconds.seconds = 0.0015
        flow.duration.fixed_seconds.delay.microseconds = delay_us
    storm = pause_flow(config, "h2", 3, pps=10_000)
    storm.duration.fixed_seconds.seconds = 0.0015
    api.set_config(config)
    transmit(api)
    metrics = flow_metrics(api)
    assert metrics["during"].loss > 20
    assert (metrics["after"].loss, metrics["other"].loss) == (0, 0)


def marks_at_dequeue(api: snappi.Api) -> None:
    """Of frames that stood in a paused queue the first to leave are marked, since a queue is behind them, the last are not."""
    config = _configured(api)
    flow = data_flow(config, "h1", "h2", 3, percent=100)
    flow.duration.fixed_packets.packets, flow.duration.fixed_packets.delay.microseconds = 150, 5
    pause_flow(config, "h2", 3, quanta=10_000).duration.fixed_packets.packets = 1
    config.captures.add(name="c", port_names=["h2"], format="pcapng")
    api.set_config(config)
    control = api.control_state()
    control.port.capture.state = "start"
    api.set_control_state(control)
    transmit(api)
    assert flow_metrics(api)[flow.name].frames_rx == 150
    request = api.capture_request()
    request.port_name = "h2"
    frames = [each.data for each in pcapng.frames(api.get_capture(request).read())]
    marked = [frame[15] & 3 == 3 for frame in frames if frame[12:14] == b"\x08\x00"]
    assert len(marked) == 150 and marked[0] and not marked[-1]


def headroom(api: snappi.Api) -> None:
    """What comes while a sender hears of XOFF has room, whatever the size of its frames; a sender that ignores it loses."""
    losses = []
    for obeys in (True, False):
        config = api.config()
        for name in ("h1", "h2"):
            config.ports.add(name=name)
        if obeys:
            layer = config.layer1.add(name="l1", port_names=["h1"])
            layer.flow_control.ieee_802_1qbb.pfc_delay = 0
        flow = data_flow(config, "h1", "h2", 3, percent=100)
        flow.size.weight_pairs.predefined = "imix"
        flow.duration.fixed_packets.packets, flow.duration.fixed_packets.delay.microseconds = 2000, 5
        pause_flow(config, "h2", 3).duration.fixed_seconds.seconds = 5e-4
        api.set_config(config)
        transmit(api)
        metrics = flow_metrics(api)[flow.name]
        assert metrics.frames_tx == 2000
        losses.append(metrics.loss)
    assert losses[0] == 0 and losses[1] > 10


CASES: list[tuple[Callable[[snappi.Api], None], Callable[[], Plan], Callable[[Plan], Plan]]] = [
    (watchdog, lambda: switch_lab(2, settings=WATCHDOG), lambda plan: _edited(plan, lambda it: it.pop("watchdog"))),
    (marks_at_dequeue, lambda: switch_lab(2, settings=ECN, lossless=[3], thresholds={"xoff": 400_000, "xon": 300_000}),
     lambda plan: defective(plan, "marks-on-arrival")),
    (headroom, lambda: switch_lab(2), lambda plan: _edited(
        plan, lambda it: [group.update(headroom_bytes=5_000) for group in it["priority_groups"]] and None)),
]  # fmt: skip


@pytest.mark.parametrize(("script", "lab", "broken"), CASES, ids=[script.__name__ for script, _, _ in CASES])
def test_a_script_tells_a_sound_switch_from_a_defective_one(
    script: Callable[[snappi.Api], None], lab: Callable[[], Plan], broken: Callable[[Plan], Plan]
) -> None:
    with served(lab()) as api:
        script(api)
    with served(broken(lab())) as api, pytest.raises(AssertionError):
        script(api)


def test_marks_are_written_behind_a_vlan_tag() -> None:
    """Tagged frames whose DSCP leads to class 3 stand in its queue; those that leave first are marked, checksum and all."""
    with served(switch_lab(2, settings=ECN, lossless=[3], thresholds={"xoff": 400_000, "xon": 300_000})) as api:
        config = _configured(api)
        flow = config.flows.add(name="tagged")
        flow.tx_rx.port.tx_name, flow.tx_rx.port.rx_names = "h1", ["h2"]
        _, vlan, ip = flow.packet.ethernet().vlan().ipv4()
        vlan.id.value = 7
        ip.priority.dscp.phb.value, ip.priority.dscp.ecn.value = 24, 2
        flow.size.fixed, flow.rate.percentage = 1024, 100
        flow.duration.fixed_packets.packets, flow.duration.fixed_packets.delay.microseconds = 150, 5
        flow.metrics.enable = True
        pause_flow(config, "h2", 3, quanta=10_000).duration.fixed_packets.packets = 1
        config.captures.add(name="c", port_names=["h2"], format="pcapng")
        api.set_config(config)
        control = api.control_state()
        control.port.capture.state = "start"
        api.set_control_state(control)
        transmit(api)
        assert flow_metrics(api)["tagged"].frames_rx == 150
        request = api.capture_request()
        request.port_name = "h2"
        headers = [each.data[18:38] for each in pcapng.frames(api.get_capture(request).read())]
    assert (headers[0][1] & 3, headers[-1][1] & 3) == (3, 2)
    assert all(checksum(header) == 0 for header in headers)
