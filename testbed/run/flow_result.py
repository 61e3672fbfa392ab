"""What a result says of a workload of flows."""

from __future__ import annotations

from testbed.run.verdict import ResultModel


class Spread(ResultModel):
    """How a figure is spread over flows: its mean, percentiles, and the largest."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float


class FlowClass(ResultModel):
    """Flows of one class of sizes, from `least_bytes` to `most_bytes`, both included; spreads are of those that ended.

    A slowdown is the time of a flow divided by what it would have taken in an empty network.
    """

    least_bytes: int
    most_bytes: int
    count: int
    finished: int
    fct_us: Spread | None
    slowdown: Spread | None


class FlowLoad(ResultModel):
    """Share of the sources' links: as asked for, as drawn, and as frames of those hosts took it; nothing was lost or sent
    again where the last two agree. Shares are of the time until which flows began."""

    asked: float
    offered: float
    on_the_wire: float


class FlowTimes(ResultModel):
    """One flow: when it began, how long it took until its last byte had arrived, and what it would have taken alone."""

    src: str
    dst: str
    priority: int
    bytes: int
    start_us: float
    fct_us: float | None
    alone_us: float
    slowdown: float | None


class FlowCompletion(ResultModel):
    """Flows of a workload of flows: all of them, by classes of sizes, and one by one; `load` is null where they were listed."""

    sizes: str
    load: FlowLoad | None
    all: FlowClass
    by_size: list[FlowClass]
    flows: list[FlowTimes]
