"""fct.txt and pfc.txt as the ns-3 family writes them that began with HPCC, of a result and of a capture.

Nodes have the numbers of their places in the lab, as in the topology.txt that `importers.hpcc.write_hpcc` makes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from testbed.errors import UsageError
from testbed.lab.topology import Lab
from testbed.pcapng import OUTBOUND, Frame
from testbed.run.flow_result import FlowCompletion
from testbed.sizes import LINE_OVERHEAD_BYTES, SHORTEST_FRAME_BYTES
from testbed.units import serialisation_ps

HEADER_BYTES = 48
"""Of a packet in that family: 14 of Ethernet, 20 of IP, 8 of UDP, 6 of its own."""
FIRST_PORT = 10_000
DPORT = 100
_FIRST_ADDRESS = 0x0B000001
_NS_PER_S = 10**9
_PFC_TYPE, _PFC_OPCODE = bytes.fromhex("8808"), bytes.fromhex("0101")


class _Way(NamedTuple):
    """A way to a host as that family chooses one: fewest links, then the least delay, then the widest; and its first bits."""

    links: int
    delay_ns: int
    narrowness: int
    first_ns: int

    @property
    def rate_bps(self) -> int:
        return -self.narrowness


class Standalone:
    """How long flows take that meet nobody, as the simulator reckons for its last column: in whole ns."""

    def __init__(self, lab: Lab, payload_bytes: int) -> None:
        self.lab = lab
        self.payload_bytes = payload_bytes
        self._ways: dict[str, Mapping[str, _Way]] = {}

    def ns(self, source: str, target: str, length: int) -> int:
        """Return the time of a flow of so many bytes. Raises UsageError where there is no way."""
        if target not in self._ways:
            self._ways[target] = self._towards(target)
        way = self._ways[target].get(source)
        if way is None:
            raise UsageError(f"lab {self.lab.name} has no way from {source} to {target}")
        wire = length + HEADER_BYTES * -(-length // self.payload_bytes)
        return 2 * way.delay_ns + way.first_ns + wire * 8 * _NS_PER_S // way.rate_bps

    def _towards(self, target: str) -> dict[str, _Way]:
        """Return the best way to a host from every node, links away from it by links; hosts between do not forward."""
        ways = {target: _Way(0, 0, -(2**62), 0)}
        edge = [target]
        while edge:
            reached: dict[str, _Way] = {}
            for node in edge:
                if node in self._hosts and node != target:
                    continue
                behind = ways[node]
                for onward in self.lab.adjacent[node]:
                    if onward.node in ways:
                        continue
                    rate = onward.link.rate_bps
                    way = _Way(
                        behind.links + 1,
                        behind.delay_ns + onward.link.delay_ps // 1000,
                        max(behind.narrowness, -rate),
                        behind.first_ns + self.payload_bytes * 8 * _NS_PER_S // rate,
                    )
                    reached[onward.node] = min(way, reached.get(onward.node, way))
            ways |= reached
            edge = list(reached)
        return ways

    @cached_property
    def _hosts(self) -> frozenset[str]:
        return frozenset(host.name for host in self.lab.hosts)


def address(node: int) -> str:
    """Return the address of a node in hexadecimal digits, as that family gives them out."""
    return f"{_FIRST_ADDRESS + node // 256 * 0x10000 + node % 256 * 0x100:08x}"


def fct_text(lab: Lab, flows: FlowCompletion, payload_bytes: int, offset_ns: int) -> str:
    """Return fct.txt: a line a flow that ended, in the order of their ends; starts begin at an offset.

    Raises UsageError for flows of hosts that the lab does not have.
    """
    number = _numbers(lab)
    standalone = Standalone(lab, payload_bytes)
    ports: Counter[tuple[str, str]] = Counter()
    lines = []
    for flow in flows.flows:
        src, dst = (name.partition("/")[0] for name in (flow.src, flow.dst))
        if src not in number or dst not in number:
            raise UsageError(
                f"lab {lab.name} has no host {src if src not in number else dst}; name the lab of the result"
            )
        sport = FIRST_PORT + ports[src, dst]
        ports[src, dst] += 1
        if flow.fct_us is None:
            continue
        start_ns, fct_ns = round(flow.start_us * 1000), round(flow.fct_us * 1000)
        alone_ns = standalone.ns(src, dst, flow.bytes)
        ends = f"{address(number[src])} {address(number[dst])} {sport} {DPORT}"
        lines.append((start_ns + fct_ns, f"{ends} {flow.bytes} {offset_ns + start_ns} {fct_ns} {alone_ns}"))
    return "".join(f"{line}\n" for _, line in sorted(lines, key=lambda each: each[0]))


def pfc_text(lab: Lab, frames: Iterable[Frame]) -> str:
    """Return pfc.txt: a line for each PFC frame by the port that it reaches, 1 for pause and 0 for resume, in their order.

    A capture has frames as they start on a link; they arrive when the last bit does. What a link loses is among them. Raises
    UsageError for a port that the lab does not have.
    """
    number, kinds = _numbers(lab), {node.name: node.kind for node in lab.nodes}
    lines = [
        (time_ns, f"{time_ns} {number[node]} {int(kinds[node] == 'switch')} {index} {kind}\n")
        for time_ns, node, index, kind in _pauses(lab, frames)
    ]
    return "".join(line for _, line in sorted(lines, key=lambda each: each[0]))


def _pauses(lab: Lab, frames: Iterable[Frame]) -> Iterator[tuple[int, str, int, int]]:
    peers = {str(end): (link, far) for link in lab.links for end, far in ((link.a, link.b), (link.b, link.a))}
    for frame in frames:
        if frame.way != OUTBOUND or frame.data[12:14] != _PFC_TYPE or frame.data[14:16] != _PFC_OPCODE:
            continue
        if frame.interface not in peers:
            raise UsageError(f"lab {lab.name} has no port {frame.interface}; name the lab of the capture")
        link, far = peers[frame.interface]
        enabled = int.from_bytes(frame.data[16:18], "big")
        times = [int.from_bytes(frame.data[at : at + 2], "big") for at in range(18, 34, 2)]
        stops = any(time for priority, time in enumerate(times) if enabled >> priority & 1)
        flight_ps = serialisation_ps(SHORTEST_FRAME_BYTES + LINE_OVERHEAD_BYTES, link.rate_bps) + link.delay_ps
        yield frame.time_ns + flight_ps // 1000, far.node, 1 + lab.ports[far.node].index(far.port), int(stops)


def _numbers(lab: Lab) -> dict[str, int]:
    return {node.name: place for place, node in enumerate(lab.nodes)}
