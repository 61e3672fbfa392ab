"""Distributions of flow sizes: points of a cumulative distribution, straight between them.

Those with a name are in use in papers on congestion control; their points are those of the traffic generator that was
published with Li et al., "HPCC: High Precision Congestion Control", SIGCOMM 2019 (traffic_gen/*.txt of the repository
alibaba-edu/High-Precision-Congestion-Control). WebSearch goes back to Alizadeh et al., "Data Center TCP", SIGCOMM 2010;
FbHdp, Facebook's Hadoop, to Roy et al., "Inside the Social Network's (Datacenter) Network", SIGCOMM 2015; AliStorage was
measured in Alibaba's storage in 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[int, float]
"""Bytes, and how many percent of the flows are at most as long."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of flow sizes by points of its cumulative distribution, ascending, the last at 100 percent."""

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless the points ascend in both figures and end at 100 percent."""
        if not self.points:
            raise ValueError("a distribution needs a point")
        if any(size < 0 for size, _ in self.points) or self.points[-1][0] < 1:
            raise ValueError("flows are at least 1 byte long")
        if any(not 0 <= percent <= 100 for _, percent in self.points):
            raise ValueError("percentages are from 0 to 100")
        for (size, percent), (next_size, next_percent) in pairwise(self.points):
            if next_size < size or next_percent < percent:
                raise ValueError(f"{next_size} bytes at {next_percent:g} percent follow {size} at {percent:g}")
        if self.points[-1][1] != 100:
            raise ValueError(f"the last point is at {self.points[-1][1]:g} percent, not at 100")

    def size_at(self, share: float) -> int:
        """Return the size below which so large a share of the flows is, from 0 to 1; at least 1 byte."""
        percent = 100 * share
        before_size, before = self.points[0]
        for size, at in self.points:
            if percent <= at:
                span = at - before
                inside = (percent - before) / span if span else 1.0
                return max(1, round(before_size + (size - before_size) * inside))
            before_size, before = size, at
        return max(1, self.points[-1][0])

    def mean_bytes(self) -> float:
        """Return the mean size."""
        first_size, first = self.points[0]
        total = first_size * first
        for (size, percent), (next_size, next_percent) in pairwise(self.points):
            total += (size + next_size) / 2 * (next_percent - percent)
        return total / 100


def uniform(least: int, most: int) -> Distribution:
    """Return the distribution in which every size between two is as likely."""
    return Distribution(((least, 0.0), (most, 100.0)))


def constant(size: int) -> Distribution:
    """Return the distribution of one size."""
    return Distribution(((size, 100.0),))


def _of(points: Sequence[tuple[int, float]]) -> Distribution:
    return Distribution(((0, 0.0), *points))


NAMED: Mapping[str, Distribution] = {
    "websearch": _of(
        [
            (10_000, 15.0),
            (20_000, 20.0),
            (30_000, 30.0),
            (50_000, 40.0),
            (80_000, 53.0),
            (200_000, 60.0),
            (1_000_000, 70.0),
            (2_000_000, 80.0),
            (5_000_000, 90.0),
            (10_000_000, 97.0),
            (30_000_000, 100.0),
        ]
    ),
    "fbhdp": _of(
        [
            (100, 1.0),
            (200, 2.0),
            (300, 5.0),
            (350, 15.0),
            (400, 20.0),
            (500, 30.0),
            (600, 40.0),
            (700, 50.0),
            (1_000, 60.0),
            (2_000, 67.0),
            (7_000, 70.0),
            (30_000, 72.0),
            (50_000, 82.0),
            (80_000, 87.0),
            (120_000, 90.0),
            (300_000, 95.0),
            (1_000_000, 97.5),
            (2_000_000, 99.0),
            (10_000_000, 100.0),
        ]
    ),
    "alistorage": _of(
        [
            (4_000, 22.93),
            (8_000, 69.21),
            (16_000, 80.61),
            (32_000, 90.47),
            (64_000, 93.53),
            (128_000, 96.77),
            (256_000, 97.53),
            (2_000_000, 100.0),
        ]
    ),
}
