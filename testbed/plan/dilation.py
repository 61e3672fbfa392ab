"""How slow nominal time has to run so that this machine keeps up: pure arithmetic over a plan and a calibration."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from testbed.contract.plan import Plan
from testbed.errors import HostError
from testbed.sizes import FCS_BYTES, LINE_OVERHEAD_BYTES, RETH_BYTES, ROCE_OVERHEAD_BYTES

# A data frame of path MTU 4096 on the line.
DATA_FRAME_BYTES = ROCE_OVERHEAD_BYTES + RETH_BYTES + 4096 + FCS_BYTES + LINE_OVERHEAD_BYTES
ACK_EVERY = 16
# The load is an average and arrives in bursts; the calibration had the machine to itself.
SAFETY = 2
# Lateness that the emulated network may see: so many frame times of its fastest link.
LATE_FRAMES = 3
MAX_DILATION = 1_000_000
_LEAST_GROWTH = 4


@dataclass(frozen=True)
class Calibration:
    """What this machine can do.

    Frames over a link each second of wall time, and how late the 99th percentile leaves.
    """

    frame_hops_per_s: int
    lateness_p99_ns: int


def choose_dilation(plan: Plan, calibration: Calibration) -> int:
    """Return the smallest of 1, 2, 5, 10, 20 … at which this machine carries all hosts at line rate, and in time.

    Raises HostError when not even 1,000,000 suffices. Cost: one breadth-first search for each host.
    """
    offered = offered_frame_hops_per_s(plan)
    if not offered:
        return 1
    late_ns = lateness_bound_ns(plan)
    for dilation in _steps():
        carried = offered * SAFETY <= calibration.frame_hops_per_s * dilation
        if carried and calibration.lateness_p99_ns <= late_ns * dilation:
            return dilation
    raise HostError(f"this machine is too slow for this lab, even at dilation {MAX_DILATION:,}")


def larger_dilation(dilation: int, shortfall: float) -> int:
    """Return the dilation at which to repeat a run that went `shortfall` times too fast for the machine.

    Twice what would have done, and at least four times the dilation, on the scale of `choose_dilation`; at most
    MAX_DILATION.
    """
    wanted = dilation * max(_LEAST_GROWTH, SAFETY * shortfall)
    return next((step for step in _steps() if step >= wanted), MAX_DILATION)


def lateness_bound_ns(plan: Plan) -> Fraction:
    """Return how late, in nominal ns, frames may leave without the network noticing: three frame times, fastest link."""
    fastest_bps = max(port["rate_bps"] for node in plan["nodes"] for port in node["ports"])
    return Fraction(LATE_FRAMES * DATA_FRAME_BYTES * 8 * 10**9, fastest_bps)


def offered_frame_hops_per_s(plan: Plan) -> Fraction:
    """Return how many frames cross a link in a nominal second when every host sends at line rate to all others."""
    nodes = plan["nodes"]
    hosts = [index for index, node in enumerate(nodes) if node["kind"] == "host"]
    neighbours: list[set[int]] = [set() for _ in nodes]
    for link in plan["links"]:
        a, b = link["a"][0], link["b"][0]
        neighbours[a].add(b)
        neighbours[b].add(a)
    hops = _mean_hops(neighbours, hosts)
    frames = sum(
        (Fraction(port["rate_bps"], DATA_FRAME_BYTES * 8) for host in hosts for port in nodes[host]["ports"]),
        Fraction(),
    )
    return frames * hops * (1 + Fraction(1, ACK_EVERY))


def _mean_hops(neighbours: Sequence[set[int]], hosts: Sequence[int]) -> Fraction:
    """Return the mean number of links between two hosts that can reach each other."""
    total, pairs = 0, 0
    for host in hosts:
        distance = _distances(neighbours, host)
        reached = [distance[other] for other in hosts if other != host and other in distance]
        total += sum(reached)
        pairs += len(reached)
    return Fraction(total, pairs) if pairs else Fraction()


def _distances(neighbours: Sequence[set[int]], start: int) -> dict[int, int]:
    distance = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in neighbours[node] - distance.keys():
            distance[other] = distance[node] + 1
            queue.append(other)
    return distance


def _steps() -> Iterator[int]:
    decade = 1
    while decade <= MAX_DILATION:
        for digit in (1, 2, 5):
            if digit * decade <= MAX_DILATION:
                yield digit * decade
        decade *= 10
