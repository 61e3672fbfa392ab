"""Ways to reckon the headroom of one lossless priority at one port, and how far a buffer reaches by each.

- `Ieee`: the sum of IEEE 802.1Q's annex (`testbed.buffers.headroom`), for any rate.
- `LabPort`: that sum as `headroom: auto` of a lab takes it, with the lab's frames and fibre and what an emulated switch adds.
- `Spectrum`: what SONiC computes for NVIDIA Spectrum switches, with its roundings.
- `headroom_tables.Sonic`: rows that switches with Broadcom chips are shipped with.

All are pure, in integers or exact fractions. Each never falls as the length grows, so that a length can be searched for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm
from typing import ClassVar, Protocol

from testbed.buffers.headroom import Headroom, add_up, group_headroom, headroom, in_cells, interface_bits
from testbed.errors import UsageError
from testbed.sizes import LONGEST_MTU_BYTES, SHORTEST_FRAME_BYTES
from testbed.units import BITS_PER_QUANTUM, FIBRE_PS_PER_METRE, PS_PER_SECOND, format_rate

# More than twice around the Earth: lengths are searched for up to here.
LONGEST_MM = 100_000 * 10**6
ROUND_TRIP = "round_trip"
GUIDES_PS_PER_METRE = 5000


@dataclass(frozen=True)
class GroupProfile:
    """The columns of SONiC's pg_profile_lookup.ini that do not depend on distance; bytes, but for the threshold.

    `threshold` is n in alpha = 2^n. `xon_offset_bytes` is None where the table has no such column.
    `size_bytes` is the group's reserve; where `with_xoff` holds, the column counts the headroom as well, and is rounded up to
    `step_bytes`.
    """

    size_bytes: int
    xon_bytes: int
    threshold: int
    xon_offset_bytes: int | None
    with_xoff: bool = False
    step_bytes: int = 1


# Arista 7260CX3 (Tomahawk 2); also the reserve, alpha and offset of Azure's lossless storage network (NSDI 2023).
TOMAHAWK_2_PROFILE = GroupProfile(1248, 1248, -3, 2496)
# Dell Z9332F (Tomahawk 3).
TOMAHAWK_3_PROFILE = GroupProfile(2540, 2540, -2, 2540)
# Mellanox SN5640. Its table leaves the headroom to a shared pool; here every group has its own.
SPECTRUM_PROFILE = GroupProfile(19456, 19456, 0, None, with_xoff=True, step_bytes=1024)
# The same tables: ports of eight lanes have two buffers, and their size a frame of the port more.
EIGHT_LANES = 8
EIGHT_LANES_XON_BYTES = 38912


def assumption(cell_bytes: int, small_percent: int | None) -> str:
    """Return what a headroom assumes of frames, by its cells and its share of small frames."""
    if cell_bytes == 1:
        return "in bytes, no cells"
    if small_percent is None:
        return "worst case: every frame takes as many cells as any can"
    return f"small-frame share: {small_percent} of 100 frames have 64 B"


class Model(Protocol):
    """A way to reckon headroom, with everything but the length decided."""

    name: ClassVar[str]

    @property
    def rate_bps(self) -> int:
        """The rate of the port."""

    @property
    def assumption(self) -> str:
        """What is assumed of the frames that come after a pause was asked for."""

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each term comes from, by its name."""

    @property
    def profile(self) -> GroupProfile:
        """What a row of SONiC's table says beside the headroom."""

    def headroom(self, length_mm: int) -> Headroom:
        """Return the headroom for a length of cable; its terms have the names of `sources`."""


_CELLS = "cells that frames do not fill: all of them small, or the share of small ones that was given"
_SUM_SOURCES = {
    "frame_before_pause": "longest frame and 20 B around it: the PAUSE frame waits for it",
    "pause_frame": "64 B and 20 B around them, 672 bit times",
    ROUND_TRIP: "2 × length × rate / v, 5 ns/m unless told otherwise",
    "interfaces": "MAC and PHY of both ends, IEEE 802.3 by rate; above 100G as at 100G",
    "response": "quanta of 512 bit times, IEEE 802.3 annex 31B by rate",
    "frame_leaving": "longest frame and 20 B around it: the peer had begun it",
}


@dataclass(frozen=True)
class Ieee:
    """The sum of IEEE 802.1Q. `frame_bytes` is the longest frame with its FCS.

    A metre takes 5 ns, as Cisco's and Dell's guides have it; labs know fibre more exactly, at 4.897 ns.
    With `interfaces` the delay of MAC and PHY at both ends counts, as in hardware; ports of the emulation have none.
    `response_ps` is the peer's, None for that of the rate. `cell_bytes` and `small_percent` as in `headroom.in_cells`.
    """

    name: ClassVar[str] = "ieee"

    rate_bps: int
    frame_bytes: int
    interfaces: bool = True
    ps_per_metre: int = GUIDES_PS_PER_METRE
    response_ps: int | None = None
    cell_bytes: int = 1
    small_percent: int | None = None

    @property
    def assumption(self) -> str:
        return assumption(self.cell_bytes, self.small_percent)

    @property
    def sources(self) -> Mapping[str, str]:
        return {**_SUM_SOURCES, **({"cells": _CELLS} if self.cell_bytes > 1 else {})}

    @property
    def profile(self) -> GroupProfile:
        return TOMAHAWK_2_PROFILE

    def headroom(self, length_mm: int) -> Headroom:
        # To the nearest picosecond, as a lab's links have it.
        delay_ps = (length_mm * self.ps_per_metre + 500) // 1000
        interface = interface_bits(self.rate_bps) if self.interfaces else 0
        base = headroom(self.rate_bps, delay_ps, self.frame_bytes, self.response_ps, interface)
        if self.cell_bytes == 1:
            return base
        total = in_cells(base.total_bytes, self.cell_bytes, self.small_percent, self.frame_bytes)
        return Headroom({**base.terms, "cells": total - base.total_bytes}, total)


@dataclass(frozen=True)
class LabPort:
    """What `headroom: auto` of a lab comes to at a switch's port, under the virtual clock.

    `beyond_ps` is what the link's delay has besides the flight through `ps_per_metre` of fibre: FEC and signal processing of
    a profile, or a delay that the lab gives outright; below zero for hollow fibre. The rest as in `Ieee`.
    """

    name: ClassVar[str] = "lab"

    rate_bps: int
    frame_bytes: int
    cell_bytes: int = 1
    small_percent: int | None = None
    response_ps: int | None = None
    ps_per_metre: int = FIBRE_PS_PER_METRE
    beyond_ps: int = 0

    @property
    def assumption(self) -> str:
        return assumption(self.cell_bytes, self.small_percent)

    @property
    def sources(self) -> Mapping[str, str]:
        return {
            **_SUM_SOURCES,
            ROUND_TRIP: "2 × rate × delay of the link: 4.897 ns/m, and what its profile adds",
            "interfaces": "ports of the emulation have none",
            "crossing_frame": "the frame that crosses the threshold stands in the headroom whole",
            "lateness": "frames handled late, under the real clock alone",
            "cells": _CELLS,
        }

    @property
    def profile(self) -> GroupProfile:
        return TOMAHAWK_2_PROFILE

    def headroom(self, length_mm: int) -> Headroom:
        delay_ps = max(0, (length_mm * self.ps_per_metre + 500) // 1000 + self.beyond_ps)
        return group_headroom(
            self.rate_bps,
            delay_ps,
            self.frame_bytes,
            self.response_ps,
            cell_bytes=self.cell_bytes,
            small_percent=self.small_percent,
        )


@dataclass(frozen=True)
class Spectrum:
    """SONiC's dynamic headroom for NVIDIA Spectrum (sonic-swss, buffer_headroom_mellanox.lua).

    `port_mtu_bytes` is the longest frame of the port, `mtu_bytes` the longest of lossless traffic, `cell_bytes` the unit
    of the buffer, `small_percent` how many of a hundred frames have 64 bytes and waste most of a cell. `lanes` of the port
    decide what the row says beside the headroom. `response_bytes` is what arrives while the peer responds, None for that of
    its rate; `gearbox_ps` is the time through a gearbox between chip and module, which PAUSE frame and data pass.

    Raises UsageError for a rate that SONiC has no response time for.
    """

    name: ClassVar[str] = "spectrum"
    sources: ClassVar[Mapping[str, str]] = {
        "lossless_frame": "longest lossless frame",
        "port_frame": "longest frame of the port: the PAUSE frame waits for it",
        ROUND_TRIP: "2 × length × rate / v, v = 1.98e8 m/s",
        "interfaces": "MAC and PHY, 0.8 KiB",
        "response": "quanta × 64 B, by rate and, in cells of 256 B (Spectrum-6), by chip",
        "gearbox": "2 × rate × delay of a gearbox, none unless given",
        "tile": "rate in Gb/s × 120 / 8 B, Spectrum-4 and -5 (cells of 192 B)",
        "cell_occupancy": "cells that small frames do not fill, on all but the first term",
        "rounding": "up to 1 KiB",
    }
    METRES_PER_SECOND: ClassVar[int] = 198_000_000
    # The tables of SN5640 come out with 67 for 10G, not the 60 of IEEE's annex.
    QUANTA: ClassVar[Mapping[int, int]] = {
        10: 67,
        25: 80,
        40: 118,
        50: 147,
        100: 394,
        200: 453,
        400: 905,
        800: 905,
    }
    # Spectrum-6: its rows at 800G come out with as much as twice that.
    SPECTRUM_6_CELL_BYTES: ClassVar[int] = 256
    SPECTRUM_6_QUANTA: ClassVar[Mapping[int, int]] = {800: 1810}
    INTERFACES_BYTES: ClassVar[Fraction] = Fraction(8, 10) * 1024
    TILE_CELL_BYTES: ClassVar[int] = 192
    STEP_BYTES: ClassVar[int] = 1024

    rate_bps: int
    port_mtu_bytes: int = LONGEST_MTU_BYTES
    mtu_bytes: int = 4096
    cell_bytes: int = TILE_CELL_BYTES
    small_percent: int = 50
    lanes: int = 4
    response_bytes: Fraction | None = None
    gearbox_ps: int = 0

    def __post_init__(self) -> None:
        if self.rate_bps % 10**9 or self.rate_bps // 10**9 not in self.QUANTA:
            known = ", ".join(f"{rate}G" for rate in self.QUANTA)
            raise UsageError(
                f"the model spectrum has no response time for {format_rate(self.rate_bps)}; known: {known}"
            )

    @property
    def assumption(self) -> str:
        return assumption(self.cell_bytes, self.small_percent)

    @property
    def profile(self) -> GroupProfile:
        if self.lanes != EIGHT_LANES:
            return SPECTRUM_PROFILE
        xon = EIGHT_LANES_XON_BYTES
        return replace(SPECTRUM_PROFILE, size_bytes=xon + self.port_mtu_bytes, xon_bytes=xon)

    def _response(self) -> Fraction:
        if self.response_bytes is not None:
            return self.response_bytes
        rate = self.rate_bps // 10**9
        quanta = self.QUANTA[rate]
        if self.cell_bytes == self.SPECTRUM_6_CELL_BYTES:
            quanta = self.SPECTRUM_6_QUANTA.get(rate, quanta)
        return Fraction(quanta * BITS_PER_QUANTUM, 8)

    def occupancy(self) -> Fraction:
        """Return how many bytes of cells a byte of traffic takes at worst, as SONiC weighs it."""
        if self.cell_bytes > 2 * SHORTEST_FRAME_BYTES:
            worst = ceil(Fraction(self.cell_bytes, SHORTEST_FRAME_BYTES))
        else:
            worst = ceil(Fraction(2 * self.cell_bytes, 1 + self.cell_bytes))
        mean = Fraction(self.small_percent * SHORTEST_FRAME_BYTES + (100 - self.small_percent) * self.mtu_bytes, 100)
        return 1 + SHORTEST_FRAME_BYTES / mean * (worst - 1)

    def headroom(self, length_mm: int) -> Headroom:
        propagation = {
            "port_frame": Fraction(self.port_mtu_bytes),
            ROUND_TRIP: Fraction(2 * length_mm * self.rate_bps, 1000 * 8 * self.METRES_PER_SECOND),
            "interfaces": self.INTERFACES_BYTES,
            "response": self._response(),
            "gearbox": Fraction(2 * self.gearbox_ps * self.rate_bps, 8 * PS_PER_SECOND),
            "tile": Fraction(self.rate_bps * 120, 8 * 10**9) * (self.cell_bytes == self.TILE_CELL_BYTES),
        }
        exact = {"lossless_frame": Fraction(self.mtu_bytes), **propagation}
        exact["cell_occupancy"] = sum(propagation.values(), Fraction()) * (self.occupancy() - 1)
        reached = sum(exact.values(), Fraction())
        exact["rounding"] = ceil(reached / self.STEP_BYTES) * self.STEP_BYTES - reached
        denominator = lcm(*(value.denominator for value in exact.values()))
        return add_up({name: int(value * denominator) for name, value in exact.items()}, denominator)


def longest_mm(model: Model, budget_bytes: int) -> int | None:
    """Return the longest length whose headroom is no more than a budget; None if not even no length is.

    LONGEST_MM stands for that and any more. Costs one headroom for each bit of LONGEST_MM.
    """
    if model.headroom(0).total_bytes > budget_bytes:
        return None
    fits, beyond = 0, LONGEST_MM + 1
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if model.headroom(middle).total_bytes <= budget_bytes:
            fits = middle
        else:
            beyond = middle
    return fits


def pg_profile_row(model: Model, rate_bps: int, length_mm: int) -> str:
    """Return a header and one row as in SONiC's pg_profile_lookup.ini.

    Raises UsageError for what its columns cannot say: parts of a metre or of a megabit per second.
    """
    if length_mm % 1000 or rate_bps % 10**6:
        raise UsageError("SONiC's table has whole metres and whole Mb/s only")
    xoff, profile = model.headroom(length_mm).total_bytes, model.profile
    size = profile.size_bytes + (xoff if profile.with_xoff else 0)
    columns = {
        "speed": str(rate_bps // 10**6),
        "cable": f"{length_mm // 1000}m",
        "size": str(-(-size // profile.step_bytes) * profile.step_bytes),
        "xon": str(profile.xon_bytes),
        "xoff": str(xoff),
        "threshold": str(profile.threshold),
    }
    if profile.xon_offset_bytes is not None:
        columns["xon_offset"] = str(profile.xon_offset_bytes)
    widths = [max(len(title), len(value)) for title, value in columns.items()]
    lines = (columns.keys(), columns.values())
    head, row = ("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
    # The header begins with a sign; the row makes room for it, so that the columns align.
    return f"# {head}\n  {row}"
