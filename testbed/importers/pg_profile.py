"""SONiC's pg_profile_lookup.ini: thresholds of a lossless priority group by the speed and the cable of its port.

Columns `speed cable size xon xoff threshold [xon_offset]`: Mb/s, metres as `40m`, bytes. The threshold is an exponent of two
where the ingress pool is dynamic, and bytes where it is static.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from testbed.importers.text import Text
from testbed.units import format_size, parse_length

LOWEST_ALPHA, HIGHEST_ALPHA = -8, 7
_MOST_BYTES = 2**48
_MOST_MBPS = 10**8


@dataclass(frozen=True)
class Profile:
    """Thresholds of a priority group in bytes; `alpha_log2` of a dynamic one, `static_bytes` of a static one.

    `headroom_bytes` of None follows from the link.
    """

    reserve_bytes: int = 0
    alpha_log2: int | None = None
    static_bytes: int | None = None
    xon_bytes: int = 0
    xon_offset_bytes: int | None = None
    headroom_bytes: int | None = None

    def thresholds(self) -> dict[str, Any]:
        """Return the profile in the words of a lab file."""
        headroom = "auto" if self.headroom_bytes is None else format_size(self.headroom_bytes)
        if self.static_bytes is not None:
            xoff = self.reserve_bytes + self.static_bytes
            offset = xoff if self.xon_offset_bytes is None else min(xoff, self.xon_offset_bytes)
            xon = max(self.xon_bytes, xoff - offset)
            return {"xoff": format_size(xoff), "xon": format_size(min(xon, xoff)), "headroom": headroom}
        offset_said = {} if self.xon_offset_bytes is None else {"xon-offset": format_size(self.xon_offset_bytes)}
        alpha = str(Fraction(2) ** (self.alpha_log2 or 0))
        return {"alpha": alpha, "reserve": format_size(self.reserve_bytes), **offset_said, "headroom": headroom}

    @property
    def not_carried(self) -> str:
        """What of the profile a lab has not; empty if it has all of it.

        XON comes at the greater of `xon` and the threshold less its offset. A lab has the latter, and XON at the reserve.
        """
        if self.static_bytes is not None or self.xon_bytes <= self.reserve_bytes:
            return ""
        return f"xon {self.xon_bytes} above the reserve of {self.reserve_bytes} bytes"


@dataclass(frozen=True)
class Lookup:
    """The rows of a table, by speed in Mb/s and length of the cable in mm."""

    text: Text
    rows: Mapping[tuple[int, int], tuple[tuple[int, ...], int]]

    def profile(self, speed_mbps: int, cable_mm: int, is_static: bool | None) -> Profile | None:
        """Return the profile of a port, None where there is no row for it. Raises TopologyError for a threshold out of bounds.

        `is_static` of None: the pool is not known, and numbers that can be an exponent are one.
        """
        row = self.rows.get((speed_mbps, cable_mm))
        if row is None:
            return None
        (size, xon, xoff, threshold, *offset), line = row
        exponent = LOWEST_ALPHA <= threshold <= HIGHEST_ALPHA
        static = not exponent if is_static is None else is_static
        if not static and not exponent:
            self.text.fail(line, f"threshold {threshold} is not an exponent from {LOWEST_ALPHA} to {HIGHEST_ALPHA}")
        if static and threshold < 0:
            self.text.fail(line, f"threshold {threshold} is below 0, and the ingress pool is static")
        return Profile(
            reserve_bytes=size,
            alpha_log2=None if static else threshold,
            static_bytes=threshold if static else None,
            xon_bytes=xon,
            xon_offset_bytes=offset[0] if offset else None,
            headroom_bytes=xoff,
        )


def read_lookup(text: Text) -> Lookup:
    """Return the rows of a pg_profile_lookup.ini; a file without one is an empty table."""
    rows: dict[tuple[int, int], tuple[tuple[int, ...], int]] = {}
    for line in text.lines():
        if len(line.words) not in (6, 7):
            text.fail(
                line.number, f"a row has 6 or 7 columns, not {len(line.words)}: speed cable size xon xoff threshold"
            )
        speed, cable, *sizes = line.words
        speed_mbps = text.whole(line.number, speed, "speed", 1, _MOST_MBPS)
        cable_mm = text.quantity(line.number, cable, "cable", parse_length)
        figures = [_signed(text, line.number, word, index == 3) for index, word in enumerate(sizes)]
        if (speed_mbps, cable_mm) in rows:
            text.fail(line.number, f"a second row for {speed} {cable}, first on line {rows[speed_mbps, cable_mm][1]}")
        rows[speed_mbps, cable_mm] = tuple(figures), line.number
    return Lookup(text, rows)


def _signed(text: Text, line: int, word: str, may_be_negative: bool) -> int:
    negative = may_be_negative and word.startswith("-")
    value = text.whole(line, word[1:] if negative else word, "a size", 0, _MOST_BYTES)
    return -value if negative else value
