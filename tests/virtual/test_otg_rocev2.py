"""RoCEv2 devices and flows by snappi's own client: DCQCN on a switch that marks, and one that does not."""

from __future__ import annotations

from typing import Any

import pytest
import snappi

from testbed.otg.client import Dut
from tests.virtual.otg import flow_metrics, lossless_ports, port_metrics, served, switch_lab, transmit

ECN = ("lossless.ecn={kmin: 20KB, kmax: 80KB, pmax: 0.4}",)


def device(config: Any, port: str, number: int, to: int) -> None:
    """Add a device at 10.0.0.NUMBER behind a port, with a queue pair to 10.0.0.TO."""
    added = config.devices.add(name=f"d{number}")
    ethernet = added.ethernets.add(name=f"e{number}", mac=f"02:aa:00:00:00:{number:02x}")
    ethernet.connection.port_name = port
    ethernet.ipv4_addresses.add(name=f"i{number}", address=f"10.0.0.{number}", gateway=f"10.0.0.{to}")
    interface = added.rocev2.ipv4_interfaces.add(ipv4_name=f"i{number}", ib_mtu=4096)
    qp = interface.peers.add(name=f"p{number}", destination_ip_address=f"10.0.0.{to}").qps.add(qp_name=f"q{number}")
    qp.connection_type.reliable_connection.source_qp_number = 100 + number
    qp.connection_type.reliable_connection.dscp = 24


def incast_config(api: snappi.Api, *, dcqcn: bool = True, rate: int = 98, senders: tuple[int, ...] = (1, 2)) -> Any:
    """Return devices that write messages of 64 KB to a third."""
    config = api.config()
    lossless_ports(config, "h1", "h2", "h3")
    for number, to in ((1, 3), (2, 3), (3, 1)):
        device(config, f"h{number}", number, to)
    config.stateful_flows.choice = "rocev2"
    flows = config.stateful_flows.rocev2.add()
    for number in senders:
        tx = flows.tx_ports.add(port_name=f"h{number}")
        tx.transmit_type.target_line_rate.value = rate
        flow = tx.transmit_type.target_line_rate.flows.add(
            name=f"f{number}", tx_endpoint=f"q{number}", rx_endpoint="q3"
        )
        flow.rocev2_verb.choice, flow.message_size, flow.message_size_unit = "write", 64, "kb"
    for number in (1, 2, 3):
        settings = config.options.per_port_options.add(port_name=f"h{number}").protocols.add().rocev2
        settings.cnp.ip_dscp.value, settings.cnp.cnp_delay_timer = 48, 20
        control = settings.dcqcn_settings
        control.enable_dcqcn, control.alpha_update_period, control.rate_increment_time = dcqcn, 55, 300
    return config


def queue_pairs(api: snappi.Api) -> dict[str, Any]:
    request = api.metrics_request()
    request.rocev2_flow.per_qp.column_names = []
    return {each.flow_name: each for each in api.get_metrics(request).rocev2_flow_per_qp_metrics}


def paused_frames(api: snappi.Api) -> int:
    rows = Dut(api._transport.location).show("pfc counters")
    return sum(int(row["PFC3"]) for row in rows if row.get("Port Tx") == "eth1")


def test_messages_arrive_at_the_rate_that_was_asked_for() -> None:
    with served(switch_lab(3), step_ps=10**9) as api:
        api.set_config(incast_config(api, dcqcn=False, rate=50, senders=(1,)))
        control = api.control_state()
        control.protocol.all.state = "start"
        api.set_control_state(control)
        transmit(api)
        row = queue_pairs(api)["f1"]
        # 1 ms at half of 100 Gb/s, in frames of 4178 bytes on the line of which 4096 are payload.
        assert row.rx_bytes == pytest.approx(6_250_000 * 4096 / 4198, rel=0.03)
        assert (row.port_tx, row.port_rx, row.src_qp, row.dest_qp) == ("h1", "h3", 101, 103)
        assert (row.src_ipv4, row.dest_ipv4, row.data_frames_retransmitted, row.nak_rx) == (
            "10.0.0.1",
            "10.0.0.3",
            0,
            0,
        )
        assert row.message_complete_rx == row.rx_bytes // 64_000 and row.ack_rx > 0
        transmit(api, "stop")
        stopped = queue_pairs(api)["f1"]
        assert stopped.rx_bytes >= row.rx_bytes
        assert queue_pairs(api)["f1"].rx_bytes == stopped.rx_bytes
        request = api.metrics_request()
        request.rocev2_ipv4.per_peer.peer_names = ["p1"]
        (peer,) = api.get_metrics(request).rocev2_ipv4_per_peer_metrics
        assert (peer.name, peer.qp_configured, peer.qp_up) == ("p1", 1, 1)
        assert port_metrics(api)["h3"].frames_rx > 0 and flow_metrics(api) == {}


def dcqcn_relieves(api: snappi.Api) -> None:
    """With marks DCQCN slows two senders down, so that the switch has to pause them less often by a third."""
    counts = []
    for dcqcn in (False, True):
        api.set_config(incast_config(api, dcqcn=dcqcn, rate=100))
        transmit(api)
        rows = queue_pairs(api)
        assert all(row.data_frames_retransmitted == 0 for row in rows.values())
        assert min(row.rx_bytes for row in rows.values()) > 0.8 * max(row.rx_bytes for row in rows.values())
        counts.append(paused_frames(api))
    assert counts[1] < 0.67 * counts[0]


def test_dcqcn_reacts_to_a_switch_that_marks_and_only_to_one() -> None:
    with served(switch_lab(3, settings=ECN)) as api:
        dcqcn_relieves(api)
    with served(switch_lab(3)) as api, pytest.raises(AssertionError):
        dcqcn_relieves(api)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: setattr(config.devices[0].rocev2.ipv4_interfaces[0], "ib_mtu", 1500), "ib_mtu: must be 256"),
        (
            lambda config: setattr(
                config.options.per_port_options[0].protocols[0].dcqcn_settings, "clamp_target_rate", True
            ),
            "dcqcn_settings.clamp_target_rate: only false",
        ),
        (
            lambda config: setattr(
                config.stateful_flows.rocev2[0].tx_ports[0].transmit_type.target_line_rate.flows[0], "tx_endpoint", "q9"
            ),
            "tx_endpoint: port h1 has no queue pair q9",
        ),
        (
            lambda config: setattr(
                config.stateful_flows.rocev2[0].tx_ports[0].transmit_type.target_line_rate.flows[0].rocev2_verb,
                "choice",
                "read",
            ),
            "rocev2_verb.read: not supported by this server",
        ),
    ],
)
def test_what_is_not_supported_is_named(change: Any, message: str) -> None:
    with served(switch_lab(3)) as api:
        config = incast_config(api)
        change(config)
        with pytest.raises(Exception) as refused:
            api.set_config(config)
        assert message in " ".join(str(refused.value).split())
