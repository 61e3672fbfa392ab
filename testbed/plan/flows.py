"""Flows of an experiment, listed or drawn, and the schedule that they make: pure, and the same for both clocks.

A flow is a message without payload on a queue pair of its own, or of its two hosts, that begins at a time and depends on
nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment
from testbed.experiment.flow_sizes import Distribution
from testbed.experiment.flows import ANY, MAX_FLOWS, Flows, ListedFlow
from testbed.lab.ranks import Rank, select
from testbed.lab.topology import Lab
from testbed.plan.addressing import stable_hash
from testbed.plan.compile import chosen_ranks
from testbed.plan.packets import wire_bytes
from testbed.plan.queue_pairs import channel_of
from testbed.traffic import Calc, RankSchedule, Recv, Schedule, Send
from testbed.traffic.schedule import Op
from testbed.units import PS_PER_SECOND

_NEARER = 8
"""Times that the number of flows is corrected by what it came to."""


class Flow(NamedTuple):
    """A flow from one rank to another, by their numbers."""

    source: int
    target: int
    bytes: int
    start_ps: int
    priority: int | None = None
    """Its own, where it is not that of the run."""


@dataclass(frozen=True)
class PlannedFlows:
    """The flows of an experiment by start, who they run between, and what share of the sources' links they are to take.

    `offered` is that share as it was drawn; both are None for flows that were listed.
    """

    flows: tuple[Flow, ...]
    ranks: tuple[Rank, ...]
    schedule: Schedule
    sources: tuple[str, ...] = ()
    until_ps: int | None = None
    load: float | None = None
    offered: float | None = None


def plan_flows(lab: Lab, experiment: Experiment) -> PlannedFlows:
    """Return the flows of an experiment. Raises ExperimentError for hosts that are not there, and for more flows than can be."""
    flows = experiment.flows
    assert flows is not None
    if experiment.transport.qps > 1 and experiment.transport.spread == "messages" and flows.queue_pairs == "flow":
        message = "a flow is one message, and takes one of its queue pairs; give transport.spread: slices, so that it takes all"
        raise ExperimentError([experiment.fault(("transport", "qps"), f"{message}, or flows.queue-pairs: pair")])
    ranks = chosen_ranks(lab, experiment)
    if flows.list is not None:
        listed = _listed(lab, experiment, flows.list, ranks)
        return PlannedFlows(listed, ranks, schedule_of(listed, len(ranks), flows.queue_pairs == "flow"))
    return _drawn(lab, experiment, flows, ranks)


def schedule_of(flows: Sequence[Flow], ranks: int, apart: bool) -> Schedule:
    """Return what ranks do: each flow waits for its time and is sent, `apart` on a queue pair of its own."""
    ops: list[list[Op]] = [[] for _ in range(ranks)]
    lanes: Counter[tuple[int, int]] = Counter()
    for flow in flows:
        ends = min(flow.source, flow.target), max(flow.source, flow.target)
        channel = channel_of(lanes[ends] if apart else 0, flow.priority)
        lanes[ends] += 1
        own = ops[flow.source]
        requires: tuple[int, ...] = ()
        if flow.start_ps:
            own.append(Calc(flow.start_ps))
            requires = (len(own) - 1,)
        own.append(Send(flow.target, 0, flow.bytes, 0, requires=requires, channel=channel))
        ops[flow.target].append(Recv(flow.source, 0, flow.bytes, channel=channel))
    return Schedule(tuple(RankSchedule(0, tuple(own)) for own in ops))


def _listed(lab: Lab, experiment: Experiment, listed: Sequence[ListedFlow], ranks: Sequence[Rank]) -> tuple[Flow, ...]:
    numbers = {rank: number for number, rank in enumerate(ranks)}
    hosts = {host.name: host for host in lab.hosts}
    flows = []
    for index, flow in enumerate(listed):
        ends = []
        for key, name in (("from", flow.source), ("to", flow.target)):
            chosen, faults = select([name], hosts)
            if faults:
                where = ("flows", "list", index, key)
                raise ExperimentError([experiment.fault(where, f"lab {lab.name} has {faults[0]}")])
            ends.append(numbers[chosen[0]])
        own = None if flow.priority == experiment.lossless.priority else flow.priority
        if ranks[ends[0]].host == ranks[ends[1]].host:
            raise ExperimentError([experiment.fault(("flows", "list", index), "a flow goes from one host to another")])
        flows.append(Flow(ends[0], ends[1], flow.bytes, flow.start, own))
    return tuple(sorted(flows, key=lambda flow: flow.start_ps))


def _drawn(lab: Lab, experiment: Experiment, flows: Flows, ranks: tuple[Rank, ...]) -> PlannedFlows:
    """Draw flows: see `experiment.flows.Flows` for how, and why the load is the one that was asked for."""
    assert flows.sizes is not None and flows.load is not None and flows.until is not None
    sources = _chosen(lab, experiment, "from", flows.source, ranks)
    targets = _chosen(lab, experiment, "to", flows.target, ranks)
    if not sources or not any(ranks[target].host != ranks[sources[0]].host for target in targets):
        raise ExperimentError([experiment.fault(("flows", "to"), "a flow goes from one host to another")])
    rates = [_rate_bps(lab, ranks[source]) for source in sources]
    wanted = flows.load * sum(rates) * flows.until / (8 * PS_PER_SECOND)
    sizes = sizes_of(flows.sizes.distribution(), wanted, experiment)
    if not sizes or len(sizes) > MAX_FLOWS:
        count = f"more than {MAX_FLOWS} flows" if sizes else "no whole flow"
        message = (
            f"so much load until then is {count} of {flows.sizes.distribution().mean_bytes():,.0f} bytes on average"
        )
        raise ExperimentError([experiment.fault(("flows", "until"), message)])
    drawn = random.Random(stable_hash("flows", experiment.seed))
    drawn.shuffle(sizes)
    made = []
    for size in sizes:
        source = drawn.choices(sources, rates)[0]
        others = [target for target in targets if ranks[target].host != ranks[source].host]
        made.append(Flow(source, drawn.choice(others), size, drawn.randrange(flows.until)))
    made.sort(key=lambda flow: flow.start_ps)
    offered = sum(wire_bytes(size, experiment.transport) for size in sizes) / wanted * flows.load
    schedule = schedule_of(made, len(ranks), flows.queue_pairs == "flow")
    hosts = tuple(dict.fromkeys(ranks[source].host for source in sources))
    return PlannedFlows(tuple(made), ranks, schedule, hosts, flows.until, flows.load, offered)


def sizes_of(distribution: Distribution, wanted: float, experiment: Experiment) -> list[int]:
    """Return the sizes of as many flows as come nearest to so many bytes on the wire: the middles of equal shares."""

    def sizes(count: int) -> list[int]:
        return [distribution.size_at((number + 0.5) / count) for number in range(count)]

    def total(count: int) -> int:
        return sum(wire_bytes(size, experiment.transport) for size in sizes(count))

    count = max(1, round(wanted / max(1.0, distribution.mean_bytes())))
    for _ in range(_NEARER):
        if count > MAX_FLOWS:
            return sizes(MAX_FLOWS + 1)
        count = max(1, round(count * wanted / total(count)))
    best = min(range(max(0, count - 1), count + 2), key=lambda number: abs(total(number) - wanted))
    return sizes(best)


def _chosen(lab: Lab, experiment: Experiment, key: str, pattern: str, ranks: Sequence[Rank]) -> list[int]:
    """Return the numbers of the ranks that a pattern stands for."""
    if pattern == ANY:
        return list(range(len(ranks)))
    numbers = {rank: number for number, rank in enumerate(ranks)}
    chosen, faults = select([pattern], {host.name: host for host in lab.hosts})
    if faults:
        raise ExperimentError([experiment.fault(("flows", key), f"lab {lab.name} has {faults[0]}")])
    return [numbers[rank] for rank in chosen]


def _rate_bps(lab: Lab, rank: Rank) -> int:
    """Return what a rank may send: its share of the links of its host."""
    links = lab.adjacent[rank.host]
    accelerators = next(host.accelerators for host in lab.hosts if host.name == rank.host)
    return sum(way.link.rate_bps for way in links) // accelerators
