"""Scripts of snappi against a switch: each passes on a sound one, and finds the defective one that it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snappi

from testbed.contract.plan import Plan
from tests.virtual.otg import (
    data_flow,
    defective,
    flow_metrics,
    lossless_ports,
    pause_flow,
    port_metrics,
    served,
    switch_lab,
    transmit,
)

XOFF_BYTES = 60_000
LATE_BYTES = 60_000
"""What may come after XOFF on links of 1 us: 25 KB of flight and response, doubled."""


def _lasting(flow: Any, seconds: float, delay_us: float = 0) -> Any:
    flow.duration.fixed_seconds.seconds = seconds
    flow.duration.fixed_seconds.delay.microseconds = delay_us
    return flow


def _configured(api: snappi.Api, *ports: str) -> Any:
    config = api.config()
    lossless_ports(config, *ports)
    return config


def paused_lossless_class(api: snappi.Api) -> None:
    """While the receiver pauses class 3 nothing of it leaves, the switch stops the sender in time, and class 0 goes on."""
    config = _configured(api, "h1", "h2")
    lossless = _lasting(data_flow(config, "h1", "h2", 3, percent=40), 1e-3, 20)
    other = _lasting(data_flow(config, "h1", "h2", 0, percent=40), 1e-3, 20)
    _lasting(pause_flow(config, "h2", 3), 1.2e-3)
    api.set_config(config)
    transmit(api)
    metrics = flow_metrics(api)
    assert metrics[other.name].loss == 0 and metrics[other.name].frames_tx == pytest.approx(4789, abs=2)
    held = metrics[lossless.name]
    assert held.bytes_tx < XOFF_BYTES + LATE_BYTES
    # The rest leaves when the pause is over.
    assert held.loss == 0 and held.timestamps.first_timestamp_ns > 1.2e6


def paused_lossy_class(api: snappi.Api) -> None:
    """A pause of a lossy class is ignored."""
    config = _configured(api, "h1", "h2")
    flow = _lasting(data_flow(config, "h1", "h2", 0), 1e-4)
    pause_flow(config, "h2", 0, 1, 2, 5, 6, 7).duration.fixed_packets.packets = 20
    api.set_config(config)
    transmit(api)
    assert flow_metrics(api)[flow.name].loss == 0
    assert flow_metrics(api)[flow.name].latency.maximum_ns < 2_200


def global_pause(api: snappi.Api) -> None:
    """An 802.3x PAUSE frame stops nothing of a port that runs PFC."""
    config = _configured(api, "h1", "h2")
    flow = _lasting(data_flow(config, "h1", "h2", 3), 1e-4, 5)
    pause = config.flows.add(name="global")
    pause.tx_rx.port.tx_name = "h2"
    pause.packet.ethernetpause()
    pause.packet[0].time.value = 0xFFFF
    pause.rate.pps, pause.duration.fixed_packets.packets = 100_000, 10
    api.set_config(config)
    transmit(api)
    assert flow_metrics(api)[flow.name].latency.maximum_ns < 2_200


def incast(api: snappi.Api) -> None:
    """Three senders at 40 % of a line each: all are paused, nothing is lost, and each has a third."""
    config = _configured(api, "h1", "h2", "h3", "h4")
    flows = [_lasting(data_flow(config, f"h{each}", "h4", 3, percent=60), 4e-4) for each in (1, 2, 3)]
    api.set_config(config)
    transmit(api)
    metrics = flow_metrics(api)
    assert [metrics[flow.name].loss for flow in flows] == [0, 0, 0]
    sent = [metrics[flow.name].frames_tx for flow in flows]
    assert max(sent) < 0.62 * 400 / 0.08352 * 0.9
    assert max(sent) / min(sent) < 1.1


def fluctuating_load(api: snappi.Api) -> None:
    """Bursts of two senders overlap for some of the time: nothing is lost, and both are paused only then."""
    config = _configured(api, "h1", "h2", "h3")
    steady = _lasting(data_flow(config, "h1", "h3", 3, percent=60), 6e-4)
    bursty = data_flow(config, "h2", "h3", 3, percent=100)
    bursty.duration.burst.bursts, bursty.duration.burst.packets = 4, 600
    bursty.duration.burst.inter_burst_gap.microseconds = 100
    api.set_config(config)
    transmit(api)
    metrics = flow_metrics(api)
    assert metrics[steady.name].loss == metrics[bursty.name].loss == 0
    assert metrics[bursty.name].frames_tx == 2400
    assert metrics[steady.name].latency.maximum_ns > 3 * metrics[steady.name].latency.minimum_ns


def two_classes(api: snappi.Api) -> None:
    """Two lossless classes of one port are paused by turns of their own, and neither loses a frame."""
    config = _configured(api, "h1", "h2")
    flows = [_lasting(data_flow(config, "h1", "h2", each, percent=40), 3e-4, 20) for each in (3, 4)]
    _lasting(pause_flow(config, "h2", 3), 5e-4)
    api.set_config(config)
    transmit(api)
    metrics = flow_metrics(api)
    assert metrics[flows[0].name].timestamps.first_timestamp_ns > 5e5
    assert metrics[flows[1].name].timestamps.last_timestamp_ns < 3.4e5
    assert metrics[flows[1].name].frames_tx == pytest.approx(0.4 * 300 / 0.08352, abs=2)
    assert [metrics[flow.name].loss for flow in flows] == [0, 0]


def disabled_class(api: snappi.Api) -> None:
    """A pause time of a class that the vector does not enable is no pause."""
    config = _configured(api, "h1", "h2")
    flow = _lasting(data_flow(config, "h1", "h2", 3), 1e-4, 5)
    pause = pause_flow(config, "h2", 3)
    pause.packet[0].class_enable_vector.value = 0
    pause.duration.fixed_packets.packets = 10
    api.set_config(config)
    transmit(api)
    assert flow_metrics(api)[flow.name].latency.maximum_ns < 2_200


def released_class(api: snappi.Api) -> None:
    """A class goes on as soon as a frame says XON, and a sender that was stopped is let go."""
    config = _configured(api, "h1", "h2")
    flow = _lasting(data_flow(config, "h1", "h2", 3, percent=50), 3e-4, 5)
    _lasting(pause_flow(config, "h2", 3), 1e-4)
    xon = pause_flow(config, "h2", 3, quanta=0)
    xon.name = "xon"
    xon.duration.fixed_packets.packets, xon.duration.fixed_packets.delay.microseconds = 1, 120
    api.set_config(config)
    transmit(api)
    metrics = flow_metrics(api)[flow.name]
    assert metrics.loss == 0 and 1.21e5 < metrics.timestamps.first_timestamp_ns < 1.25e5
    # Of 305 us it was stopped for some 100: the rest went out.
    assert metrics.frames_tx > 0.55 * 300 / 0.16704


def lossy_overload(api: snappi.Api) -> None:
    """Two senders of a lossy class overload a port: some is lost, and nobody is paused."""
    config = _configured(api, "h1", "h2", "h3")
    flows = [_lasting(data_flow(config, f"h{each}", "h3", 0, percent=100), 4e-3) for each in (1, 2)]
    api.set_config(config)
    transmit(api)
    metrics = flow_metrics(api)
    assert sum(metrics[flow.name].loss for flow in flows) > 5
    assert all(metrics[flow.name].frames_tx == pytest.approx(47893, abs=2) for flow in flows)
    assert port_metrics(api)["h1"].frames_rx == 0


Script = Callable[[snappi.Api], None]

SHORT_QUEUE = {"lossy-queue": "500KB"}


def pauses_lossy_classes() -> Plan:
    """Return a switch for which class 0 is lossless too."""
    return switch_lab(3, lossless=[0, 3, 4], **SHORT_QUEUE)


CASES: list[tuple[Script, Callable[[], Plan], str | Callable[[], Plan]]] = [
    (paused_lossless_class, lambda: switch_lab(2), "ignores-pause"),
    (paused_lossless_class, lambda: switch_lab(2), "spares-first-port"),
    (paused_lossless_class, lambda: switch_lab(2), "pauses-whole-port"),
    (paused_lossy_class, lambda: switch_lab(2), "obeys-lossy-pause"),
    (global_pause, lambda: switch_lab(2), "obeys-global-pause"),
    (disabled_class, lambda: switch_lab(2), "ignores-enable-vector"),
    (incast, lambda: switch_lab(4), "spares-first-port"),
    (incast, lambda: switch_lab(4), "asks-too-little"),
    (incast, lambda: switch_lab(4), "asks-next-priority"),
    (fluctuating_load, lambda: switch_lab(3), "asks-next-priority"),
    (two_classes, lambda: switch_lab(2), "pauses-whole-port"),
    (two_classes, lambda: switch_lab(2), "asks-all-priorities"),
    (released_class, lambda: switch_lab(2), "never-xon"),
    (lossy_overload, lambda: switch_lab(3, **SHORT_QUEUE), pauses_lossy_classes),
]


@pytest.mark.parametrize(
    ("script", "lab", "defect"),
    CASES,
    ids=[f"{script.__name__}-{defect if isinstance(defect, str) else defect.__name__}" for script, _, defect in CASES],
)
def test_a_script_tells_a_sound_switch_from_a_defective_one(
    script: Script, lab: Callable[[], Plan], defect: str | Callable[[], Plan]
) -> None:
    wrong = defective(lab(), defect) if isinstance(defect, str) else defect()
    with served(lab()) as api:
        script(api)
    with served(wrong) as api, pytest.raises(AssertionError):
        script(api)
