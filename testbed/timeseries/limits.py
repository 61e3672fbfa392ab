"""How often a run is sampled, and how much of it is kept.

The data plane keeps a change in 16 bytes, in vectors that grow by doubling: `MAX_CHANGES` are 256 MB at most, whatever a run
does. Where a run comes to more of them, or to more than its points, the period is doubled.
"""

from __future__ import annotations

from typing import Literal

from testbed.contract.plan import Plan, SeriesPlan
from testbed.units import PS_PER_SECOND, format_time

MAX_CHANGES = 8_000_000
MAX_CHANGES_SENT = 2_000_000
"""Of an agent: what it recorded travels in one message."""
AUTO_POINTS = 4_000
"""With `auto` a run ends with half as many points to so many."""
FEWEST_AUTO_POINTS = 250
MAX_POINTS = 1_000_000
SHORTEST_PERIOD_PS = 100_000
_CHANGES_PER_PORT = 4
"""Of a busy port at one point: bytes, queue, shared buffer, and something else."""
_AUTO_BITS = 100_000
"""The fastest port sends so much in the first period of `auto`: 1 us at 100G, some twelve frames."""
_MANY_PORTS = 256
"""A lab of more of them does not fit the caches: looking at a port takes longer, and the first period is four times as long."""


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


def plan_series(asked_ps: int | Literal["auto"], plan: Plan, sent: bool = False) -> SeriesPlan:
    """Return what the data plane is to record; `sent`: what it recorded goes over the bus."""
    changes = MAX_CHANGES_SENT if sent else MAX_CHANGES
    ports = [port for node in plan["nodes"] for port in node["ports"]]
    if asked_ps != "auto":
        return {"period_ps": asked_ps, "points": MAX_POINTS, "changes": changes}
    fastest_bps = max((port["rate_bps"] for port in ports), default=_AUTO_BITS)
    bits = _AUTO_BITS * (4 if len(ports) > _MANY_PORTS else 1)
    period_ns = -(-bits * PS_PER_SECOND // fastest_bps // 1000)
    fit = changes // (_CHANGES_PER_PORT * max(len(ports), 1))
    points = min(AUTO_POINTS, max(FEWEST_AUTO_POINTS, fit))
    return {"period_ps": max(period_ns * 1000, SHORTEST_PERIOD_PS), "points": points, "changes": changes}
