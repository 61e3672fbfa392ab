"""How long a run takes at least: what its busiest host computes, sends or receives. Reckoned, before it begins."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from testbed.contract.plan import Plan, hosts_of
from testbed.lab.ranks import Rank
from testbed.plan.flows import Flow
from testbed.run.series import Series
from testbed.traffic import Calc, Recv, Schedule, Send
from testbed.units import PS_PER_SECOND


def of_schedule(schedule: Schedule, ranks: Sequence[Rank], plan: Plan) -> int:
    """Return the ps that the busiest host or rank takes for what it does once, at the rate of all ports of a host together.

    Between ranks of one host nothing is sent. Cost: linear in the number of ops.
    """
    sent, received = Counter[str](), Counter[str]()
    longest_ps = 0
    for rank, ranked in zip(ranks, schedule.ranks, strict=True):
        longest_ps = max(longest_ps, sum(op.duration_ps for op in ranked.ops if isinstance(op, Calc)))
        for op in ranked.ops:
            if isinstance(op, Send | Recv) and ranks[op.peer].host != rank.host:
                (sent if isinstance(op, Send) else received)[rank.host] += op.bytes
    rates_bps = {host["name"]: sum(port["rate_bps"] for port in host["ports"]) for host in hosts_of(plan)}
    moved = [*sent.items(), *received.items()]
    return max([longest_ps, *(bytes_ * 8 * PS_PER_SECOND // rates_bps[host] for host, bytes_ in moved)])


def of_flows(flows: Iterable[Flow]) -> int:
    """Return when the last flow starts, in ps."""
    return max((flow.start_ps for flow in flows), default=0)


def of_series(series: Series, ranks: Sequence[Rank], plan: Plan) -> int:
    """Return the ps that all rows of a series take at least, each in proportion to the largest."""
    shapes = series.shapes()
    largest = max(shapes, key=lambda shape: shape.size_bytes)
    # Slices change nothing but the number of ops.
    call = series.collective.schedule(dataclasses.replace(largest, slice_bytes=None))
    calls = series.iterations * series.aggregate * (2 if series.collective.in_place else 1)
    bytes_ = calls * sum(shape.size_bytes for shape in shapes) + series.warmup * largest.size_bytes
    return of_schedule(call, ranks, plan) * bytes_ // max(largest.size_bytes, 1)
