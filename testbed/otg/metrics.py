"""Metrics and states in the words of the Open Traffic Generator API. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.otg.config import chosen
from testbed.otg.flows import Ends
from testbed.otg.packets import is_control
from testbed.otg.passing import Counted, Running
from testbed.otg.session import Session
from testbed.sizes import LINE_OVERHEAD_BYTES
from testbed.units import PS_PER_NS, PS_PER_SECOND

_ALWAYS = ("name", "port_tx", "port_rx")


def port_metrics(session: Session, names: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the metrics of ports, all of them for no names. Raises Refused."""
    ports = session.ports(names, "port.port_names")
    counted = session.look()
    seconds = counted.now_ps / PS_PER_SECOND
    rows = []
    for port in ports:
        figures = counted.report["ports"][port.place]
        priorities = figures["priorities"].values()
        meter = counted.meters[port.place]
        # PAUSE frames are counted by the priorities that they name: those of flows are counted as frames, too.
        pauses = [
            counted.sent(number, port.place)
            for running in session.running.values()
            if is_control(running.flow.headers)
            for number in running.numbers
        ]
        frames_tx = sum(each["frames_tx"] for each in priorities) + sum(each["frames"] for each in pauses)
        bytes_tx = sum(each["bytes_tx"] for each in priorities) + sum(each["bytes"] for each in pauses)
        frames_rx = sum(each["frames_rx"] for each in priorities) + meter["frames_rx"]
        bytes_rx = sum(each["bytes_rx"] for each in priorities) + meter["bytes_rx"]
        row = {
            "name": port.name,
            "location": port.location,
            "link": "down" if port.place in session.link_down else "up",
            "capture": "started" if session.captures.started(port.place) else "stopped",
            "transmit": "started" if _transmits(session, port.name) else "stopped",
            "frames_tx": frames_tx,
            "frames_rx": frames_rx,
            "bytes_tx": bytes_tx,
            "bytes_rx": bytes_rx,
            "frames_tx_rate": _per(frames_tx, seconds),
            "frames_rx_rate": _per(frames_rx, seconds),
            "bytes_tx_rate": _per(bytes_tx, seconds),
            "bytes_rx_rate": _per(bytes_rx, seconds),
            "speed": figures["rate_bps"] // 8000,
        }
        rows.append(_only(row, columns, ("name",)))
    return rows


def _transmits(session: Session, port: str) -> bool:
    return any(
        running.transmit == "started" and any(stream.source.name == port for stream in running.flow.streams)
        for running in session.running.values()
    )


def flow_metrics(session: Session, names: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the metrics of those flows that have any, all of them for no names. Raises Refused."""
    flows = session.flows(names)
    counted = session.look()
    rows = []
    for flow in flows:
        if not flow.metrics["enable"]:
            continue
        running = session.running.get(flow.name)
        figures = _figures(running, counted, session.ends()) if running is not None else _NOTHING
        stream = flow.streams[0] if flow.streams else None
        row: dict[str, Any] = {
            "name": flow.name,
            "port_tx": stream.source.name if stream else "",
            "port_rx": stream.to[0].name if stream and stream.to else "",
            "transmit": running.transmit if running is not None else "stopped",
            **{key: figures[key] for key in ("frames_tx", "frames_rx", "bytes_tx", "bytes_rx")},
            **_rates(figures),
        }
        row = _only(row, columns, _ALWAYS)
        if flow.metrics["loss"]:
            sent = figures["frames_tx"]
            row["loss"] = 100.0 * max(0, sent - figures["frames_rx"]) / sent if sent else 0.0
        if flow.metrics["timestamps"]:
            row["timestamps"] = {
                "first_timestamp_ns": figures["first_ps"] / PS_PER_NS,
                "last_timestamp_ns": figures["last_ps"] / PS_PER_NS,
            }
        if flow.metrics["latency"] and flow.metrics["latency"]["enable"]:
            row["latency"] = {
                "minimum_ns": figures["least_ps"] / PS_PER_NS,
                "maximum_ns": figures["most_ps"] / PS_PER_NS,
                "average_ns": figures["mean_ps"] / PS_PER_NS,
            }
        rows.append(row)
    return rows


_NOTHING: Mapping[str, Any] = dict.fromkeys(
    (
        *("frames_tx", "frames_rx", "bytes_tx", "bytes_rx", "sent_ps", "received_ps"),
        *("first_ps", "last_ps", "least_ps", "most_ps", "mean_ps"),
    ),
    0,
)


def _figures(running: Running, counted: Counted, ends: Ends) -> dict[str, Any]:
    """Return what a flow has sent and received, all of its streams together."""
    sent, received = [], []
    for stream, number in zip(running.flow.streams, running.numbers, strict=True):
        sent.append(counted.sent(number, stream.source.place))
        received += counted.received(number, [port.place for port in stream.to])
    frames_rx = sum(row["frames"] for row in received)
    begun = [row for row in sent if row["first_ps"] is not None]
    weighted = sum(row["latency_mean_ps"] * row["frames"] for row in received)
    return {
        "frames_tx": sum(row["frames"] for row in sent),
        "bytes_tx": sum(row["bytes"] for row in sent),
        "frames_rx": frames_rx,
        "bytes_rx": sum(row["bytes"] for row in received),
        # From the first frame to the last, and on to now while there are more to come.
        "sent_ps": _span(begun, counted.now_ps if running.transmit == "started" else None),
        "received_ps": _span(received, counted.now_ps if running.transmit == "started" else None),
        "first_ps": min((row["first_ps"] for row in received), default=0),
        "last_ps": max((row["last_ps"] for row in received), default=0),
        "least_ps": min((row["latency_min_ps"] for row in received), default=0),
        "most_ps": max((row["latency_max_ps"] for row in received), default=0),
        "mean_ps": weighted // frames_rx if frames_rx else 0,
    }


def _span(rows: Sequence[Mapping[str, Any]], now_ps: int | None) -> int:
    if not rows:
        return 0
    last_ps = max(row["last_ps"] for row in rows) if now_ps is None else now_ps
    return int(last_ps - min(row["first_ps"] for row in rows))


def _rates(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the rates at which a flow was sent and received, on the average."""
    row: dict[str, float] = {}
    for way in ("tx", "rx"):
        seconds = figures["sent_ps" if way == "tx" else "received_ps"] / PS_PER_SECOND
        frames, size = figures[f"frames_{way}"], figures[f"bytes_{way}"]
        rate = _per(size, seconds)
        row[f"frames_{way}_rate"] = _per(frames, seconds)
        row[f"{way}_rate_bytes"] = rate
        row[f"{way}_l1_rate_bps"] = _per((size + frames * LINE_OVERHEAD_BYTES) * 8, seconds)
        for unit, factor in (("bps", 1), ("kbps", 10**3), ("mbps", 10**6)):
            row[f"{way}_rate_{unit}"] = rate * 8 / factor
    return row


def _per(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _only(row: dict[str, Any], columns: Sequence[str], always: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not columns or key in columns or key in always}


def queue_pair_metrics(session: Session, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the metrics of the queue pairs of RoCEv2 flows that were started. Raises Refused."""
    ends, report = session.ends(), session.look().report
    rows = session.roce.rows(session.configured(), ends, report)
    return [_only(row, columns, ("flow_name", "port_tx", "port_rx", "src_qp", "dest_qp")) for row in rows]


def peer_metrics(session: Session, names: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return how many queue pairs each peer has, all peers for no names. Raises Refused."""
    config = session.configured()
    named = chosen(names, config.devices.peers, "rocev2_ipv4.per_peer.peer_names", "peer")
    session.look()
    rows = []
    for name in named:
        count = len(config.devices.peers[name])
        row = {"name": name, "qp_configured": count, "qp_up": count, "qp_down": 0}
        rows.append(_only(row, columns, ("name",)))
    return rows


def neighbours(session: Session) -> list[dict[str, Any]]:
    """Return the addresses that devices have resolved: none, since nothing needs to be resolved on a lab."""
    session.configured()
    session.look()
    return []
