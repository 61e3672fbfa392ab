"""Messages as packets: what they take of the line, and how long one takes over a path that carries nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from testbed.experiment.transport import Transport
from testbed.lab.paths import Target
from testbed.lab.topology import Link
from testbed.plan.routing import Routing
from testbed.sizes import (
    AETH_BYTES,
    FCS_BYTES,
    LINE_OVERHEAD_BYTES,
    PETH_BYTES,
    RETH_BYTES,
    ROCE_OVERHEAD_BYTES,
    SHORTEST_FRAME_BYTES,
)
from testbed.units import serialisation_ps


class Hop(NamedTuple):
    """A link as a packet sees it: how long it flies, and at what rate it is sent."""

    delay_ps: int
    rate_bps: int


def paths_between(routing: Routing, a: Target, b: Target) -> tuple[tuple[Hop, ...], ...]:
    """Return the paths from a port of one host to one of another, those of equal hops once; none if there is none."""
    first, last = (routing.adjacent[host][port] for host, port in (a, b))
    if first.link is last.link:
        return ((_hop(first.link),),)
    ways = routing.towards(b)
    known: dict[str, frozenset[tuple[Hop, ...]]] = {}
    # A switch comes after all that it forwards to.
    for node, onward in ways.items():
        ahead = {(_hop(way.link), *rest) for way in onward for rest in known[way.node]}
        known[node] = frozenset(ahead) if onward else frozenset([(_hop(last.link),)])
    return tuple(sorted((_hop(first.link), *rest) for rest in known.get(first.node, ())))


def _hop(link: Link) -> Hop:
    return Hop(link.delay_ps, link.rate_bps)


# Around the payload of the longest packet of RoCEv2, parity aside, and what an acknowledgement takes.
_WIRE_OVERHEAD_BYTES = ROCE_OVERHEAD_BYTES + RETH_BYTES + FCS_BYTES + LINE_OVERHEAD_BYTES
_ACK_WIRE_BYTES = ROCE_OVERHEAD_BYTES + AETH_BYTES + FCS_BYTES + LINE_OVERHEAD_BYTES


def full_packet_bytes(transport: Transport) -> int:
    """Return what the longest packet takes of the line, parity aside."""
    around = _WIRE_OVERHEAD_BYTES if transport.frames is None else transport.frames.header_bytes
    return transport.payload_bytes + around


def ack_bytes(transport: Transport) -> int:
    """Return what an acknowledgement takes of the line."""
    return _ACK_WIRE_BYTES if transport.frames is None else transport.frames.ack_bytes


def credited_bytes(transport: Transport) -> int:
    """Return the payload by which credits are reckoned: of a packet of RoCEv2 that is no shorter than a full one."""
    longer = 0 if transport.frames is None else transport.frames.header_bytes - _WIRE_OVERHEAD_BYTES + RETH_BYTES
    return transport.payload_bytes + max(0, longer)


def packet_bytes(length: int, first: bool, transport: Transport) -> int:
    """Return what a packet of a message takes of the line; the first of a write says where it goes."""
    if transport.frames is not None:
        return length + transport.frames.header_bytes
    address = RETH_BYTES if first and transport.verb == "write" else 0
    parity = PETH_BYTES if transport.recovery == "erasure" else 0
    frame = ROCE_OVERHEAD_BYTES + address + parity + length + -length % 4 + FCS_BYTES
    return max(frame, SHORTEST_FRAME_BYTES) + LINE_OVERHEAD_BYTES


def wire_bytes(length: int, transport: Transport) -> int:
    """Return what a message takes of the line, if nothing of it is sent again."""
    full, rest = divmod(length, transport.payload_bytes)
    lengths = [transport.payload_bytes, rest] if full and rest else [length if not full else transport.payload_bytes]
    counts = [full, 1] if full and rest else [max(full, 1)]
    total = sum(count * packet_bytes(part, False, transport) for count, part in zip(counts, lengths, strict=True))
    return total + packet_bytes(lengths[0], True, transport) - packet_bytes(lengths[0], False, transport)


def alone_ps(length: int, links: Sequence[Hop], transport: Transport) -> int:
    """Return how long a message takes over links that carry nothing else: from its first bit until its last has arrived.

    Every node stores a packet and forwards it. The last packet waits for those before it at the link that is the slowest for
    them, or follows them down the path; the longest of these ways is what it takes (a longest path through the grid of
    packets and links, in which only the first and the last packet differ from the others).
    """
    flight_ps = sum(link.delay_ps for link in links)
    count = -(-length // transport.payload_bytes) or 1
    last = length - (count - 1) * transport.payload_bytes
    first_ps, middle_ps, last_ps = (
        [serialisation_ps(packet_bytes(part, is_first, transport), link.rate_bps) for link in links]
        for part, is_first in (
            (min(length, transport.payload_bytes), True),
            (transport.payload_bytes, False),
            (last, count == 1),
        )
    )
    if count == 1:
        return flight_ps + sum(first_ps)
    return flight_ps + max(
        sum(first_ps[: turn + 1])
        + (count - 2) * middle_ps[turn]
        + sum(middle_ps[turn + 1 : end + 1])
        + sum(last_ps[end:])
        for turn, end in _turns(len(links), count)
    )


def _turns(links: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield where the packets between the first and the last queue up, and from which link on the last counts."""
    for turn in range(links):
        yield from ((turn, end) for end in (range(turn, links) if count > 2 else (turn,)))
