"""How often a run is sampled, and how much of it is kept.

The data plane keeps a change in 8 bytes, in vectors that grow by doubling: `MAX_CHANGES` are 256 MB at most, whatever a run
does. Where a run comes to more of them, or to more than its points, the period is doubled.

`auto` is to cost under a tenth of the speed. A sample looks at each port that did something since the last one, which takes as
long as a frame takes for a third of its way through a switch. So the first period depends on how many ports a lab has; a run
that is over soon has fewer points in a large lab, unless a shorter period is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from testbed.contract.plan import Plan, SeriesPlan
from testbed.units import PS_PER_NS, PS_PER_SECOND, format_time

MAX_CHANGES = 16_000_000
MAX_CHANGES_SENT = 2_000_000
"""Of an agent: what it recorded travels in one message."""
AUTO_POINTS = 4_000
"""With `auto` a run ends with half as many points to so many."""
MAX_POINTS = 1_000_000
SHORTEST_PERIOD_PS = 100_000
_LEAST_POINTS = 3_000
"""A run that takes as long as it takes at least has so many points; a third more, and the period is not yet doubled."""
_FIRST_BITS = ((64, 10_000), (256, 100_000), (None, 400_000))
"""By how many ports a lab has at most: what its fastest port sends in the first period of `auto`.

All points of 64 ports take some milliseconds, and a short frame is the least that can change anything. Of up to 256 ports it
is 1 us at 100G; a lab of more does not fit the caches, and looking at a port takes longer.
"""


def check_period(period_ps: int | Literal["auto"]) -> None:
    """Raise ValueError for a period that nothing can be recorded at."""
    if period_ps == "auto":
        return
    if period_ps < SHORTEST_PERIOD_PS or period_ps % 1000:
        raise ValueError(f"a period is auto, or whole nanoseconds, at least {format_time(SHORTEST_PERIOD_PS)}")


def check_points(period_ps: int, limit_ps: int) -> None:
    """Raise ValueError for a period that comes to more points than are kept before a run reaches its limit."""
    points = limit_ps // period_ps
    if points > MAX_POINTS:
        least = -(-limit_ps // MAX_POINTS // 1000) * 1000
        raise ValueError(
            f"series: {format_time(period_ps)} in a limit of {format_time(limit_ps)} are {points:,} points, and"
            f" {MAX_POINTS:,} are kept; a period of {format_time(least)} fits"
        )


def plan_series(
    asked_ps: int | Literal["auto"], plan: Plan, least_ps: Callable[[], int] = lambda: 0, sent: bool = False
) -> SeriesPlan:
    """Return what the data plane is to record; `sent`: what it recorded goes over the bus.

    `least_ps` reckons how long the run takes at least; only `auto` asks, and not of a large lab.
    """
    changes = MAX_CHANGES_SENT if sent else MAX_CHANGES
    if asked_ps != "auto":
        return {"period_ps": asked_ps, "points": MAX_POINTS, "changes": changes}
    rates_bps = [port["rate_bps"] for node in plan["nodes"] for port in node["ports"]]
    most, bits = next((most, bits) for most, bits in _FIRST_BITS if most is None or len(rates_bps) <= most)
    period_ps = -(-bits * PS_PER_SECOND // max(rates_bps, default=bits))
    if most is not None:
        period_ps = max(period_ps, least_ps() // _LEAST_POINTS)
    return {"period_ps": -(-period_ps // PS_PER_NS) * PS_PER_NS, "points": AUTO_POINTS, "changes": changes}
