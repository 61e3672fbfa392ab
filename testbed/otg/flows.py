"""From a raw flow to trains of the data plane: its frames in turn, when each is due, and when it ends. Pure."""

from __future__ import annotations

import ipaddress
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.contract.train import Train
from testbed.otg import packets
from testbed.otg.config import Config, Flow, Header, Port, Stream
from testbed.otg.validation import Refused, drawn
from testbed.sizes import (
    ETHERNET_HEADER_BYTES,
    FCS_BYTES,
    LINE_OVERHEAD_BYTES,
    LONGEST_MTU_BYTES,
    PREAMBLE_BYTES,
    SHORTEST_FRAME_BYTES,
)
from testbed.units import PS_PER_NS, PS_PER_SECOND, PS_PER_US

MOST_SHAPES = 2048
"""Frames after which a flow must begin again."""
ENDLESS = 2**62
_LONGEST = LONGEST_MTU_BYTES + ETHERNET_HEADER_BYTES + FCS_BYTES
_RANDOM_SIZES = 256
_WEIGHTED_SIZES = 100

# Sizes and their weights in percent or parts, as traffic generators define these mixes.
_MIXES: Mapping[str, Mapping[int, float]] = {
    "imix": {64: 7, 570: 4, 1518: 1},
    "ipsec_imix": {90: 58.67, 92: 2, 594: 23.66, 1418: 15.67},
    "ipv6_imix": {60: 58.67, 496: 2, 594: 23.66, 1518: 15.67},
    "standard_imix": {58: 58.67, 62: 2, 594: 23.66, 1518: 15.67},
    "tcp_imix": {90: 58.67, 92: 2, 594: 23.66, 1518: 15.67},
}


@dataclass(frozen=True)
class Ends:
    """Who is on a lab: by port its addresses, rate and the priority of each DSCP there."""

    mac: Mapping[str, int]
    ip: Mapping[str, int]
    rate_bps: Mapping[str, int]
    priorities: Mapping[str, Sequence[int]]

    def port_of_ip(self, address: int) -> str | None:
        """Return the port that has an address."""
        return next((place for place, ip in self.ip.items() if ip == address), None)


def sizes(flow: Flow) -> list[int]:
    """Return the sizes of frames in turn, with FCS. Raises Refused for those that no frame has."""
    size = flow.size
    match size["choice"]:
        case "fixed":
            values = [size["fixed"]]
        case "increment":
            counter = size["increment"]
            count = (counter["end"] - counter["start"]) // max(counter["step"], 1) + 1
            if count < 1 or counter["step"] < 1:
                raise Refused([f"{flow.at}.size.increment: it leads from start to end by no step"])
            values = list(range(counter["start"], counter["end"] + 1, counter["step"]))[: MOST_SHAPES + 1]
        case "random":
            bounds = size["random"]
            if bounds["min"] > bounds["max"]:
                raise Refused([f"{flow.at}.size.random: min is above max"])
            values = drawn(bounds["min"], bounds["max"], _RANDOM_SIZES, zlib.crc32(flow.name.encode()))
        case _:
            pairs = size["weight_pairs"]
            mix = _MIXES[pairs["predefined"]] if pairs["choice"] == "predefined" else _summed(pairs["custom"])
            values = _weighted(mix)
    if not values or max(values) > _LONGEST:
        raise Refused([f"{flow.at}.size: a frame has {_LONGEST} bytes at most, its FCS included"])
    least = max(SHORTEST_FRAME_BYTES, packets.header_bytes(flow.headers) + FCS_BYTES)
    return [max(value, least) for value in values]


def _summed(pairs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    mix: dict[int, float] = {}
    for pair in pairs:
        mix[pair["size"]] = mix.get(pair["size"], 0.0) + pair["weight"]
    return {size: weight for size, weight in mix.items() if weight > 0}


def _weighted(mix: Mapping[int, float]) -> list[int]:
    """Return sizes in turn, each as often as its weight says and as far apart as can be."""
    total = sum(mix.values())
    if not mix:
        return []
    whole = all(weight == int(weight) for weight in mix.values()) and total <= MOST_SHAPES
    length = int(total) if whole else _WEIGHTED_SIZES
    have = dict.fromkeys(mix, 0.0)
    turns = []
    for _ in range(length):
        for size, weight in mix.items():
            have[size] += weight / total
        chosen = max(have, key=lambda size: have[size])
        have[chosen] -= 1
        turns.append(chosen)
    return turns


def every_ps(flow: Flow, size: int, line_bps: int) -> int | None:
    """Return the time from a frame of this size to the next, rounded; None for a rate of nothing."""
    rate, bits = flow.rate, size * 8
    line_ps = (size + LINE_OVERHEAD_BYTES) * 8 * PS_PER_SECOND // line_bps
    match rate["choice"]:
        case "pps":
            asked = round(PS_PER_SECOND / rate["pps"])
        case "percentage":
            if rate["percentage"] == 0:
                return None
            asked = int(line_ps * 100 / rate["percentage"])
        case unit:
            factor = {"bps": 1, "kbps": 10**3, "mbps": 10**6, "gbps": 10**9}[unit]
            asked = round(bits * PS_PER_SECOND / (rate[unit] * factor))
    gap = flow.duration[flow.duration["choice"]]["gap"]
    least = (size + PREAMBLE_BYTES + gap) * 8 * PS_PER_SECOND // line_bps
    return max(int(asked), int(least))


def span_ps(span: Mapping[str, Any] | None, line_bps: int) -> int:
    """Return a time that is given in bytes of the line, ns or us."""
    if span is None:
        return 0
    match span["choice"]:
        case "nanoseconds":
            return round(float(span["nanoseconds"]) * PS_PER_NS)
        case "microseconds":
            return round(float(span["microseconds"]) * PS_PER_US)
        case _:
            return round(float(span["bytes"]) * 8 * PS_PER_SECOND / line_bps)


@dataclass(frozen=True)
class Begun:
    """A train of a flow that begins now: what the data plane takes, and when it would end at its rate, in ps from now."""

    train: Train | None
    ends_ps: int | None


class Translator:
    """Writes the trains of flows on a lab. `notes` is what was done that the user may not expect."""

    def __init__(self, config: Config, ends: Ends) -> None:
        self._config = config
        self._ends = ends
        self.notes: list[str] = []

    def check(self) -> None:
        """Write every train once, and keep what there is to note. Raises Refused."""
        for flow in self._config.flows.values():
            for stream in flow.streams:
                self.begun(flow, stream, 0)

    def begun(self, flow: Flow, stream: Stream, number: int, sent: int = 0, spent_ps: int = 0) -> Begun:
        """Return the train of a stream, of which so much has gone before. Raises Refused."""
        line_bps = self._ends.rate_bps[stream.source.place]
        headers = self._addressed(flow, stream)
        lengths = sizes(flow)
        turns = math.lcm(len(lengths), *packets.periods(headers))
        if turns > MOST_SHAPES:
            raise Refused(
                [
                    f"{flow.at}.packet: its sizes and patterns come again after {turns} frames; {MOST_SHAPES} are the most"
                ]
            )
        shapes = []
        for index in range(turns):
            length, turn = lengths[index % len(lengths)], (index + sent) % turns
            gap_ps = every_ps(flow, length, line_bps)
            if gap_ps is None:
                return Begun(None, 0)
            shapes.append((packets.build(headers, turn, length, flow.payload).hex(), gap_ps))
        priority = None if packets.is_control(flow.headers) else self._priority(flow, stream.source, headers)
        duration = flow.duration[flow.duration["choice"]]
        delay_ps = max(0, span_ps(duration.get("delay"), line_bps) - spent_ps)
        train: Train = {
            "node": stream.source.node,
            "port": stream.source.port,
            "hex": shapes[0][0],
            "every_ps": shapes[0][1],
            "count": ENDLESS,
            "more": [{"hex": each, "every_ps": gap} for each, gap in shapes[1:]],
            "after_ps": delay_ps,
            "priority": priority,
            "flow": self._stamp(flow, headers, lengths, number),
        }
        mean_ps = sum(gap for _, gap in shapes) // len(shapes)
        return Begun(train, self._limited(flow, train, sent, spent_ps, mean_ps, lengths[0], line_bps))

    def _limited(
        self, flow: Flow, train: Train, sent: int, spent_ps: int, mean_ps: int, size: int, line_bps: int
    ) -> int | None:
        """Let a train end as its flow's duration says; return when it should, None for never."""
        kind, delay_ps = flow.duration["choice"], train["after_ps"] or 0
        duration = flow.duration[kind]
        if kind == "fixed_packets":
            train["count"] = max(0, duration["packets"] - sent)
        elif kind == "fixed_seconds":
            whole_ps = span_ps(duration["delay"], line_bps) + round(duration["seconds"] * PS_PER_SECOND)
            train["until_ps"] = max(0, whole_ps - spent_ps)
            return train["until_ps"]
        elif kind == "burst":
            line_ps = (size + LINE_OVERHEAD_BYTES) * 8 * PS_PER_SECOND // line_bps
            gap_ps = max(0, span_ps(duration["inter_burst_gap"], line_bps) + line_ps - mean_ps)
            train["burst"] = {"frames": duration["packets"], "gap_ps": gap_ps}
            mean_ps += gap_ps // duration["packets"]
            if duration["bursts"]:
                train["count"] = max(0, duration["bursts"] * duration["packets"] - sent)
        if flow.is_endless:
            return None
        return delay_ps + train["count"] * mean_ps

    def _stamp(self, flow: Flow, headers: Sequence[Header], lengths: Sequence[int], number: int) -> Any:
        counted = not packets.is_control(headers)
        if counted and flow.metrics["enable"]:
            least = packets.header_bytes(headers) + packets.STAMP_BYTES + FCS_BYTES
            if min(lengths) < least:
                raise Refused(
                    [f"{flow.at}.size: metrics need frames of {least} bytes behind these headers, not {min(lengths)}"]
                )
        latency = flow.metrics["latency"] or {"mode": "store_forward"}
        stamped = counted and bool(flow.metrics["enable"])
        return {"number": number, "stamped": stamped, "last_bit": latency["mode"] == "store_forward"}

    def _priority(self, flow: Flow, source: Port, headers: Sequence[Header]) -> int | None:
        """Return the class of PAUSE frames that stops a flow, None where its port obeys none."""
        by_queue = self._config.classes.get(source.name)
        if by_queue is None:
            return None
        queue = flow.pfc_queue
        if queue is None:
            tos = next((header.values["tos"][0] for header in headers if header.kind == "ipv4"), 0)
            queue = self._ends.priorities[source.place][tos >> 2]
        return by_queue.get(queue)

    def _addressed(self, flow: Flow, stream: Stream) -> tuple[Header, ...]:
        """Return the headers with the addresses that the server knows: a switch forwards by the MAC of a port of the lab."""
        first = flow.headers[0]
        if first.kind != "ethernet":
            return flow.headers
        place = stream.source.place
        values = dict(first.values)
        values.setdefault("src", [self._ends.mac[place]])
        headers = [self._filled(header, stream) for header in flow.headers]
        wanted = values.get("dst")
        if wanted is None or not set(wanted) <= set(self._ends.mac.values()):
            reached = self._reached(headers, stream)
            if reached is None:
                reached = list(wanted or [0])
            elif wanted is not None:
                self._note(
                    f"{flow.at}: no port has its destination MAC; its frames go where their IP address or rx_names lead"
                )
            values["dst"] = reached
        headers[0] = replace(first, values=values)
        return tuple(headers)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _filled(self, header: Header, stream: Stream) -> Header:
        if header.kind != "ipv4":
            return header
        values = dict(header.values)
        values.setdefault("src", [self._ends.ip[stream.source.place]])
        if "dst" not in values:
            values["dst"] = [self._ends.ip[stream.to[0].place] if stream.to else 0]
        return replace(header, values=values)

    def _reached(self, headers: Sequence[Header], stream: Stream) -> list[int] | None:
        """Return the MACs that the frames' IP addresses lead to, or that of the first port that is to receive them."""
        first = self._ends.mac[stream.to[0].place] if stream.to else None
        addresses = next((header.values["dst"] for header in headers if header.kind == "ipv4"), [])
        places = [self._ends.port_of_ip(address) for address in addresses]
        if places and all(place is not None for place in places):
            return [self._ends.mac[place] for place in places if place is not None]
        return None if first is None else [first]


def mac_of(text: str) -> int:
    """Return a MAC address as a number."""
    return int(text.replace(":", ""), 16)


def ip_of(text: str) -> int:
    """Return an IPv4 address as a number."""
    return int(ipaddress.IPv4Address(text))
