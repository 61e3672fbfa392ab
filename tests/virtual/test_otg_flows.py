"""Raw flows by snappi's own client, unmodified: what is sent, when, and what is counted of it."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from tests.virtual.otg import data_flow, flow_metrics, lossless_ports, port_metrics, served, switch_lab, transmit


def read_pcap(content: bytes) -> list[tuple[int, bytes]]:
    """Return the frames of a pcap file with nanoseconds, each with its time."""
    assert content[:4] == bytes.fromhex("4d3cb2a1")
    frames, at = [], 24
    while at < len(content):
        seconds, nanoseconds, kept, _ = struct.unpack_from("<IIII", content, at)
        frames.append((seconds * 10**9 + nanoseconds, content[at + 16 : at + 16 + kept]))
        at += 16 + kept
    return frames


def test_a_number_of_packets_arrives_with_its_latency_over_https() -> None:
    with served(switch_lab(2), tls=True) as api:
        config = api.config()
        lossless_ports(config, "h1", "h2")
        flow = data_flow(config, "h1", "h2", 3)
        flow.duration.fixed_packets.packets = 1000
        api.set_config(config)
        assert api.get_config().serialize("dict") == config.serialize("dict")
        transmit(api)
        metrics = flow_metrics(api)[flow.name]
        assert (metrics.frames_tx, metrics.frames_rx, metrics.bytes_rx) == (1000, 1000, 1_024_000)
        assert (metrics.transmit, metrics.loss, metrics.port_tx, metrics.port_rx) == ("stopped", 0, "h1", "h2")
        # Two links of 1 us; store and forward leaves out the time on the first line.
        assert metrics.latency.minimum_ns == metrics.latency.average_ns == metrics.latency.maximum_ns == 2000
        # Frames of 1044 bytes on the line at half its rate come every 167.04 ns.
        span_ns = metrics.timestamps.last_timestamp_ns - metrics.timestamps.first_timestamp_ns
        assert span_ns == pytest.approx(999 * 167.04, abs=1)
        ports = port_metrics(api)
        assert (ports["h1"].frames_tx, ports["h2"].frames_rx, ports["h2"].bytes_rx) == (1000, 1000, 1_024_000)
        assert (ports["h1"].speed, ports["h1"].link, ports["h1"].transmit) == (12_500_000, "up", "stopped")


def test_every_unit_of_rates_and_every_kind_of_sizes() -> None:
    """Of each flow so many frames in 10 us: at 12 Gb/s of 1000-byte frames 15, at 5 M frames/s 50 …"""
    rates = {"pps": 5_000_000, "bps": 12_000_000_000, "kbps": 8_000_000, "mbps": 16_000, "gbps": 4, "percentage": 10}
    expected = {"pps": 50, "bps": 15, "kbps": 10, "mbps": 20, "gbps": 5, "percentage": 12.25}
    sizes: dict[str, Any] = {
        "increment": {"start": 100, "end": 500, "step": 100},
        "random": {"min": 100, "max": 900},
        "weight_pairs": {"choice": "predefined", "predefined": "imix"},
    }
    with served(switch_lab(2)) as api:
        config = api.config()
        lossless_ports(config, "h1", "h2")
        for unit, value in rates.items():
            flow = data_flow(config, "h1", "h2", 0, size=1000)
            flow.name = unit
            flow.rate.deserialize({"choice": unit, unit: value})
            flow.duration.fixed_seconds.seconds = 1e-5
        for kind, size in sizes.items():
            flow = data_flow(config, "h2", "h1", 0, percent=30)
            flow.name = kind
            flow.size.deserialize({"choice": kind, kind: size})
            flow.duration.fixed_packets.packets = 1200
        api.set_config(config)
        transmit(api)
        metrics = flow_metrics(api)
        for unit, frames in expected.items():
            assert metrics[unit].frames_tx == metrics[unit].frames_rx == -(-frames // 1)
        assert metrics["increment"].bytes_rx == 1200 * 300
        assert metrics["weight_pairs"].bytes_rx == 100 * (7 * 64 + 4 * 570 + 1518)
        assert metrics["random"].bytes_rx == pytest.approx(1200 * 500, rel=0.05)


def test_bursts_delays_and_flows_without_an_end() -> None:
    """With a step every look lets 1 ms go by, no more."""
    with served(switch_lab(2), step_ps=10**9) as api:
        config = api.config()
        lossless_ports(config, "h1", "h2")
        burst = data_flow(config, "h1", "h2", 0, percent=100)
        burst.name = "burst"
        burst.duration.burst.bursts, burst.duration.burst.packets = 3, 4
        burst.duration.burst.inter_burst_gap.microseconds = 100
        endless = data_flow(config, "h2", "h1", 0)
        endless.name = "endless"
        endless.rate.pps = 100_000
        endless.duration.continuous.delay.microseconds = 500
        api.set_config(config)
        transmit(api)
        metrics = flow_metrics(api)
        assert (metrics["burst"].frames_rx, metrics["burst"].transmit) == (12, "stopped")
        times = metrics["burst"].timestamps
        # Twelve frames of 83.52 ns, from the end of the first to that of the last, and two gaps.
        assert times.last_timestamp_ns - times.first_timestamp_ns == pytest.approx(11 * 83.52 + 200_000, abs=1)
        assert (metrics["endless"].frames_tx, metrics["endless"].transmit) == (51, "started")
        assert flow_metrics(api)["endless"].frames_tx == 151
        transmit(api, "pause", "endless")
        assert flow_metrics(api)["endless"].transmit == "paused"
        assert flow_metrics(api)["endless"].frames_tx == 151
        transmit(api, "resume", "endless")
        assert flow_metrics(api)["endless"].frames_tx == 252
        transmit(api, "stop")
        stopped = flow_metrics(api)["endless"]
        assert (stopped.transmit, stopped.frames_tx, stopped.frames_rx, stopped.loss) == ("stopped", 252, 252, 0)
        transmit(api, "start", "endless")
        assert flow_metrics(api)["endless"].frames_tx == 51


def test_headers_are_those_that_were_asked_for() -> None:
    """VLAN tag, DSCP, ECN, ports that count up, and a destination that only IP knows, in a capture of each format."""
    with served(switch_lab(2)) as api:
        config = api.config()
        lossless_ports(config, "h1", "h2")
        flow = config.flows.add(name="tagged")
        flow.tx_rx.port.tx_name, flow.tx_rx.port.rx_name = "h1", "h2"
        ethernet, vlan, ip, udp = flow.packet.ethernet().vlan().ipv4().udp()
        ethernet.dst.value, ethernet.src.value = "00:aa:00:00:00:01", "00:bb:00:00:00:02"
        vlan.id.value, vlan.priority.value = 100, 3
        ip.src.value, ip.dst.increment.start, ip.dst.increment.count = "10.9.9.1", "10.9.9.2", 2
        ip.priority.dscp.phb.value, ip.priority.dscp.ecn.value = 26, 2
        udp.src_port.values, udp.dst_port.value = [5000, 6000, 7000], 7
        flow.size.fixed, flow.rate.pps, flow.metrics.enable = 128, 1_000_000, True
        flow.duration.fixed_packets.packets = 6
        config.captures.add(name="c", port_names=["h2"], format="pcap")
        warnings = api.set_config(config).warnings
        assert len(warnings) == 1 and warnings[0].startswith("flows[0]: no port has its destination MAC")
        control = api.control_state()
        control.port.capture.state = "start"
        api.set_control_state(control)
        transmit(api)
        assert flow_metrics(api)["tagged"].frames_rx == 6
        control.port.capture.state = "stop"
        api.set_control_state(control)
        request = api.capture_request()
        request.port_name = "h2"
        packets = [Ether(data) for _, data in read_pcap(api.get_capture(request).read())]
        assert [(each[Dot1Q].vlan, each[Dot1Q].prio, each.src) for each in packets] == [
            (100, 3, "00:bb:00:00:00:02")
        ] * 6
        assert [each[IP].dst for each in packets] == ["10.9.9.2", "10.9.9.3"] * 3
        assert [each[UDP].sport for each in packets] == [5000, 6000, 7000] * 2
        assert {(each[IP].tos, len(each) + 4, each[UDP].len) for each in packets} == {(26 << 2 | 2, 128, 86)}
        assert all(IP(bytes(each[IP])[:20]).chksum == each[IP].chksum for each in packets)


def test_a_link_that_is_down_loses_what_is_sent() -> None:
    with served(switch_lab(2), step_ps=10**9) as api:
        config = api.config()
        lossless_ports(config, "h1", "h2")
        flow = data_flow(config, "h1", "h2", 0)
        flow.rate.pps = 100_000
        api.set_config(config)
        transmit(api)
        assert flow_metrics(api)[flow.name].loss == pytest.approx(0, abs=2)
        control = api.control_state()
        control.port.link.port_names, control.port.link.state = ["h2"], "down"
        api.set_control_state(control)
        assert port_metrics(api)["h2"].link == "down"
        control.port.link.state = "up"
        api.set_control_state(control)
        assert port_metrics(api)["h2"].link == "up"
        transmit(api, "stop")
        metrics = flow_metrics(api)[flow.name]
        assert metrics.frames_tx == 301 and 95 <= metrics.frames_tx - metrics.frames_rx <= 105


def test_flows_are_changed_added_and_deleted_while_others_run() -> None:
    with served(switch_lab(2), step_ps=10**9) as api:
        config = api.config()
        lossless_ports(config, "h1", "h2")
        flow = data_flow(config, "h1", "h2", 0)
        flow.rate.pps = 100_000
        api.set_config(config)
        transmit(api)
        assert flow_metrics(api)[flow.name].frames_tx == 101
        flow.rate.pps = 200_000
        update = api.config_update()
        update.flows.property_names = ["rate"]
        update.flows.flows.append(flow)
        api.update_config(update)
        assert flow_metrics(api)[flow.name].frames_tx == pytest.approx(302, abs=1)
        other = data_flow(api.config(), "h2", "h1", 0)
        added = api.config_append()
        added.config_append_list.add().flows.append(other)
        api.append_config(added)
        transmit(api, "start", other.name)
        assert flow_metrics(api)[other.name].frames_rx > 0
        deleted = api.config_delete()
        deleted.config_delete_list.add().flows = [flow.name]
        api.delete_config(deleted)
        assert list(flow_metrics(api)) == [other.name]
        assert [each.name for each in api.get_config().flows] == [other.name]
