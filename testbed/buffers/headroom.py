"""What a lossless priority group must be able to hold after it asked its peer to stop.

The sum is that of IEEE 802.1Q's annex on PFC headroom, as switch vendors' guides compute it: what waits before the PAUSE
frame, the PAUSE frame, the round trip of the cable, the interfaces, the peer's response, and what had begun to leave it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil

from testbed.sizes import LINE_OVERHEAD_BYTES, SHORTEST_FRAME_BYTES
from testbed.units import BITS_PER_QUANTUM, PS_PER_SECOND

# Under the real clock: data read late, XOFF sent late, XOFF read late.
LATE_STAGES = 3

# Quanta of 512 bit times that a MAC of each rate may take to obey (IEEE 802.3, by PHY).
_RESPONSE_QUANTA = {10: 60, 25: 80, 40: 118, 50: 147, 100: 394, 200: 453, 400: 905, 800: 905}
# Bit times through MAC and PHY at both ends, for hardware; the emulation's own ports take none.
_INTERFACE_BITS = {10: 8192, 25: 6144, 40: 24576, 100: 122880}


@dataclass(frozen=True)
class Headroom:
    """The terms of a sum in bytes, and their total: the exact sum rounded up, and what the terms add up to."""

    terms: Mapping[str, int]
    total_bytes: int


def add_up(exact: Mapping[str, int], denominator: int) -> Headroom:
    """Return terms given as numerators over one denominator as whole bytes that add up to the total.

    Each term is rounded where the running sum stands, so a term may be a byte more or less than if rounded alone.
    """
    terms, running, total = {}, 0, 0
    for name, value in exact.items():
        running += value
        reached = -(-running // denominator)
        terms[name] = reached - total
        total = reached
    return Headroom(terms, total)


def _at_least(table: Mapping[int, int], rate_bps: int) -> int:
    """Return the entry of the slowest rate (in Gb/s) that is not below `rate_bps`, else of the fastest."""
    return next((value for rate, value in table.items() if rate * 10**9 >= rate_bps), table[max(table)])


def response_ps(rate_bps: int) -> int:
    """Return how long after a PAUSE frame's arrival a port of this rate may still start frames, rounded up."""
    return -(-_at_least(_RESPONSE_QUANTA, rate_bps) * BITS_PER_QUANTUM * PS_PER_SECOND // rate_bps)


def interface_bits(rate_bps: int) -> int:
    """Return the bit times that hardware interfaces add at both ends together."""
    return _at_least(_INTERFACE_BITS, rate_bps)


def in_cells(line_bytes: int, cell_bytes: int, small_percent: int | None = None, frame_bytes: int = 0) -> int:
    """Return the whole cells, in bytes, that so many bytes of the line may take.

    `small_percent` None is the worst case, whatever frames they are: what was paused for long, a NIC or a port of a switch,
    lets go of acknowledgements alone, in trains longer than any headroom. Worst are the smallest frames, or those that
    begin a cell with their last byte. A number is the share of frames that are smallest, the others having `frame_bytes`:
    what traffic is like on average, as SONiC weighs it (`headroom_models.Spectrum.occupancy`).
    """
    if cell_bytes == 1:
        return line_bytes
    if small_percent is None:
        begun = -(-(SHORTEST_FRAME_BYTES - 1) // cell_bytes) * cell_bytes + 1
        mixes: list[Sequence[tuple[int, int]]] = [((1, SHORTEST_FRAME_BYTES),), ((1, begun),)]
    else:
        mixes = [((small_percent, SHORTEST_FRAME_BYTES), (100 - small_percent, frame_bytes))]
    worst = max(_cells_per_byte(mix, cell_bytes) for mix in mixes)
    # A cell more for the frame that crosses the threshold: what surrounds it on the line is not in the sum.
    return (-(-max(line_bytes, ceil(line_bytes * worst)) // cell_bytes) + 1) * cell_bytes


def _cells_per_byte(mix: Sequence[tuple[int, int]], cell_bytes: int) -> Fraction:
    """Return how many bytes of cells a byte of the line takes, of frames given as (weight, length)."""
    taken = sum(weight * -(-frame // cell_bytes) * cell_bytes for weight, frame in mix)
    return Fraction(taken, sum(weight * (frame + LINE_OVERHEAD_BYTES) for weight, frame in mix))


# Fabrics have few kinds of links, and each port asks.
@lru_cache(maxsize=1024)
def headroom(
    rate_bps: int, delay_ps: int, frame_bytes: int, response: int | None = None, interface: int = 0
) -> Headroom:
    """Return the headroom for one lossless priority group behind one link.

    `delay_ps` is the flight time one way, `frame_bytes` the longest frame with its FCS, `response` the peer's response
    time in ps (None: what its rate allows), `interface` the bit times of `interface_bits`.
    """
    response = response_ps(rate_bps) if response is None else response
    frame_bits = (frame_bytes + LINE_OVERHEAD_BYTES) * 8
    # In bit·ps/s, so that nothing is rounded before the end.
    scaled = {
        "frame_before_pause": frame_bits * PS_PER_SECOND,
        "pause_frame": (SHORTEST_FRAME_BYTES + LINE_OVERHEAD_BYTES) * 8 * PS_PER_SECOND,
        "round_trip": 2 * delay_ps * rate_bps,
        "interfaces": interface * PS_PER_SECOND,
        "response": response * rate_bps,
        "frame_leaving": frame_bits * PS_PER_SECOND,
    }
    return add_up(scaled, 8 * PS_PER_SECOND)


@lru_cache(maxsize=1024)
def group_headroom(
    rate_bps: int,
    delay_ps: int,
    frame_bytes: int,
    response: int | None = None,
    *,
    cell_bytes: int = 1,
    small_percent: int | None = None,
    late_frames: int = 0,
) -> Headroom:
    """Return what `headroom: auto` comes to for one lossless priority of a lab's port: `headroom`, and what else it must hold.

    A switch counts a frame when all of it has arrived, so the frame that crosses the threshold stands in the headroom with
    nearly its whole length. `late_frames` is how many frame times late a frame may be handled under the real clock. Cells
    and the share of small frames are those of `in_cells`.
    """
    line = headroom(rate_bps, delay_ps, frame_bytes, response)
    terms = {
        **line.terms,
        "crossing_frame": frame_bytes,
        "lateness": LATE_STAGES * late_frames * frame_bytes,
    }
    reached = sum(terms.values())
    total = in_cells(reached, cell_bytes, small_percent, frame_bytes)
    return Headroom({**terms, "cells": total - reached}, total)
