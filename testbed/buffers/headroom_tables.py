"""Headroom as deployed: rows that switches with Broadcom chips are shipped with. Pure.

A straight line leads from row to row, and on beyond the longest one; a cable shorter than the shortest row gets that row.
Measured is nothing between or beyond the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import ClassVar

from testbed.buffers.headroom import Headroom
from testbed.buffers.headroom_models import (
    GUIDES_PS_PER_METRE,
    ROUND_TRIP,
    TOMAHAWK_2_PROFILE,
    TOMAHAWK_3_PROFILE,
    GroupProfile,
)
from testbed.errors import UsageError
from testbed.units import PS_PER_SECOND, format_rate


@dataclass(frozen=True)
class Chip:
    """Rows of headroom (metres, bytes) by rate in Gb/s, as SONiC ships them for a switch with this chip."""

    name: str
    cell_bytes: int
    profile: GroupProfile
    rows: Mapping[int, tuple[tuple[int, int], ...]]


# pg_profile_lookup.ini of SONiC. By cell size; the first chip that has a rate is the one meant without a cell size.
TOMAHAWK_2 = Chip(
    "Tomahawk 2",
    208,
    TOMAHAWK_2_PROFILE,
    {100: ((5, 54_080), (40, 59_696), (300, 101_088))},
)
# DellEMC-Z9332f-O32.
TOMAHAWK_3 = Chip(
    "Tomahawk 3",
    254,
    TOMAHAWK_3_PROFILE,
    {
        100: ((5, 68_580), (40, 74_422), (300, 117_348), (1000, 233_172), (2000, 398_526)),
        400: ((5, 178_562), (40, 201_930), (300, 373_888), (1000, 836_676), (2000, 1_498_092)),
    },
)
CHIPS = (TOMAHAWK_2, TOMAHAWK_3)


@dataclass(frozen=True)
class Sonic:
    """Deployed rows, joined by straight lines and rounded up to cells; `cell_bytes` chooses the chip.

    Raises UsageError for a rate or a cell size without rows.
    """

    name: ClassVar[str] = "sonic"
    sources: ClassVar[Mapping[str, str]] = {
        "chip": "shortest row of SONiC's table for the chip, less its round trip",
        ROUND_TRIP: "2 × length × rate / v, 5 ns/m",
        "surplus": "what the rows, and the line through the last two, have above that; up to a cell",
    }
    rate_bps: int
    cell_bytes: int | None = None

    def __post_init__(self) -> None:
        self.chip  # noqa: B018  looked up for its errors

    @property
    def assumption(self) -> str:
        return f"as deployed switches have it ({self.chip.name})"

    @property
    def chip(self) -> Chip:
        """The chip whose rows these are."""
        for chip in CHIPS:
            if self.cell_bytes in (None, chip.cell_bytes) and self.rate_bps in (rate * 10**9 for rate in chip.rows):
                return chip
        known = "; ".join(
            f"{' and '.join(f'{rate}G' for rate in chip.rows)} in cells of {chip.cell_bytes} ({chip.name})"
            for chip in CHIPS
        )
        cells = f" in cells of {self.cell_bytes}" if self.cell_bytes is not None else ""
        raise UsageError(f"the model sonic has no rows for {format_rate(self.rate_bps)}{cells}; known: {known}")

    @property
    def profile(self) -> GroupProfile:
        return self.chip.profile

    def _round_trip_bytes(self, length_mm: int) -> int:
        return -(-2 * length_mm * GUIDES_PS_PER_METRE * self.rate_bps // (1000 * 8 * PS_PER_SECOND))

    def headroom(self, length_mm: int) -> Headroom:
        chip = self.chip
        rows = chip.rows[self.rate_bps // 10**9]
        shortest, least = rows[0]
        metres = max(Fraction(length_mm, 1000), Fraction(shortest))
        segments = list(pairwise(rows))
        (near, near_bytes), (far, far_bytes) = next((s for s in segments if metres <= s[1][0]), segments[-1])
        exact = near_bytes + (metres - near) * Fraction(far_bytes - near_bytes, far - near)
        total = ceil(exact / chip.cell_bytes) * chip.cell_bytes
        round_trip = self._round_trip_bytes(length_mm)
        fixed = least - self._round_trip_bytes(shortest * 1000)
        return Headroom({"chip": fixed, ROUND_TRIP: round_trip, "surplus": total - round_trip - fixed}, total)
