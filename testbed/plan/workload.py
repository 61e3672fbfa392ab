"""Compile a schedule into the workload of a fabric: queue pairs, ops, and the transport's window and timeout."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from testbed.buffers import credits
from testbed.contract import workload as planned
from testbed.errors import ExperimentError, nearest
from testbed.experiment.file import Experiment
from testbed.experiment.transport import Transport
from testbed.lab.endpoints import Endpoint
from testbed.lab.ranks import Rank, expand
from testbed.lab.topology import Lab, Link
from testbed.plan import controlling, timeout
from testbed.plan.compile import SCHEMA, chosen_ranks, dscp_of_data
from testbed.plan.ops import compile_ops
from testbed.plan.packets import ack_bytes, credited_bytes, full_packet_bytes
from testbed.plan.queue_pairs import QueuePairs, Talk, sends_of
from testbed.plan.routing import UNLIMITED, PathCost, PathCosts, routing_of
from testbed.schema.fields import AUTO
from testbed.sizes import ETHERNET_HEADER_BYTES, FCS_BYTES, LINE_OVERHEAD_BYTES, PETH_BYTES
from testbed.traffic import Schedule
from testbed.units import PS_PER_SECOND, serialisation_ps

SMALLEST_WINDOW_PACKETS = 64
LARGEST_WINDOW_PACKETS = 2**23 - 1  # half the PSN space, less one


def compile_workload(lab: Lab, experiment: Experiment, schedule: Schedule) -> planned.Workload:
    """Compile a schedule whose rank i runs on the i-th of `chosen_ranks`.

    Raises ExperimentError if there are not as many accelerators as ranks, two ranks that talk have no path, or a packet does
    not fit the links. Cost: linear in the ops; each pair that talks costs a few look-ups.
    """
    pairs = queue_pairs_of(lab, experiment, sends_of(schedule))
    if len(pairs.ranks) != len(schedule.ranks):
        message = f"{len(schedule.ranks)} ranks on {len(pairs.ranks)} accelerators"
        raise ExperimentError.at("experiment", "workload.ranks", message)
    _check_frames(lab, experiment)
    late = _late_ranks(experiment, pairs.ranks)
    numbers = {tuple(talk): qps for talk, qps in pairs.numbers.items()}
    node = {entry.name: index for index, entry in enumerate(lab.nodes)}
    spread, ack_dscp = experiment.transport.spread, experiment.transport.ack_dscp
    workload: planned.Workload = {
        "schema": SCHEMA,
        "priority": experiment.lossless.priority,
        "dscp": dscp_of_data(lab, experiment),
        "transport": _transport(lab, experiment, pairs),
        "qps": pairs.compiled(),
        "ranks": [
            {
                "node": node[rank.host],
                "memory_bytes": ranked.memory_bytes,
                "ops": compile_ops(number, ranked, numbers, late.get(rank), spread),
            }
            for number, (rank, ranked) in enumerate(zip(pairs.ranks, schedule.ranks, strict=True))
        ],
    }
    if ack_dscp != AUTO:
        workload["ack_dscp"] = ack_dscp
    return workload


def queue_pairs_of(lab: Lab, experiment: Experiment, sends: Collection[Talk]) -> QueuePairs:
    """Return the queue pairs of ranks that talk; `sends` says which sends to which."""
    return QueuePairs(lab, experiment, chosen_ranks(lab, experiment), sends, _path_costs_of(lab, experiment))


_last: list[tuple[Lab, Experiment, PathCosts]] = []


def _path_costs_of(lab: Lab, experiment: Experiment) -> PathCosts:
    """Return what paths cost, the same as the last time if it is for the same: each row of a run asks."""
    if not (_last and _last[0][0] is lab and _last[0][1] is experiment):
        _last[:] = [(lab, experiment, PathCosts(routing_of(lab), _link_costs(lab, experiment)))]
    return _last[0][2]


def _link_costs(lab: Lab, experiment: Experiment) -> Callable[[Link], PathCost]:
    """Return what says of a link what it costs, of each once."""
    packet, ack = full_packet_bytes(experiment.transport), ack_bytes(experiment.transport)
    nodes = {node.name: node for node in lab.nodes}
    known: dict[Endpoint, PathCost] = {}

    def reckon(link: Link) -> PathCost:
        there, back = serialisation_ps(packet, link.rate_bps), serialisation_ps(ack, link.rate_bps)
        round_trip_ps = 2 * link.delay_ps + there + back
        if credits.flow_control(link, experiment.lossless) != "credit":
            return PathCost(round_trip_ps, link.rate_bps, link.rate_bps, UNLIMITED)
        ends = nodes[link.a.node], nodes[link.b.node]
        granted = [
            grant.buffer_bytes
            for receiver, sender in (ends, ends[::-1])
            for grant in credits.grants(
                link, receiver, sender, experiment.lossless, 0, credited_bytes(experiment.transport)
            )
        ]
        carried_bps = min(granted) * 8 * PS_PER_SECOND // round_trip_ps
        return PathCost(round_trip_ps, link.rate_bps, max(1, min(link.rate_bps, carried_bps)), max(granted))

    def cost(link: Link) -> PathCost:
        if link.a not in known:
            known[link.a] = reckon(link)
        return known[link.a]

    return cost


def transport_of(pairs: QueuePairs) -> planned.Transport:
    """Return the transport of ranks that talk, with what was `auto` decided; raises what `compile_workload` does."""
    return _transport(pairs.lab, pairs.experiment, pairs)


def _late_ranks(experiment: Experiment, ranks: Sequence[Rank]) -> Mapping[Rank, int]:
    late: dict[Rank, int] = {}
    for pattern, time_ps in experiment.workload.late.items():
        for name in expand(pattern):
            named = [rank for rank in ranks if name in (str(rank), rank.host)]
            if not named:
                message = f"no rank runs on {name}{nearest(name, sorted({rank.host for rank in ranks}))}"
                raise ExperimentError([experiment.fault(("workload", "late", pattern), message)])
            late |= dict.fromkeys(named, time_ps)
    return late


def _check_frames(lab: Lab, experiment: Experiment) -> None:
    if experiment.transport.frames is not None and experiment.clock == "real":
        message = "real frames have the headers of RoCEv2; sizes of other simulators are for the virtual clock"
        raise ExperimentError([experiment.fault(("transport", "frames"), message)])
    parity = PETH_BYTES if experiment.transport.recovery == "erasure" else 0
    around = ETHERNET_HEADER_BYTES + FCS_BYTES + LINE_OVERHEAD_BYTES
    needed = full_packet_bytes(experiment.transport) - around + parity
    small = [link for link in lab.links if link.mtu_bytes < needed]
    if small:
        message = f"packets of {needed} bytes do not fit link {small[0].a} - {small[0].b}, mtu {small[0].mtu_bytes}"
        raise ExperimentError.at("experiment", "transport.mtu", message)


def _transport(lab: Lab, experiment: Experiment, pairs: QueuePairs) -> planned.Transport:
    settings = experiment.transport
    costs = _path_costs(pairs)
    controlling.check(lab, experiment, costs)
    window = _window(costs, settings) if settings.window == AUTO else settings.window
    if not 1 <= window // settings.payload_bytes <= LARGEST_WINDOW_PACKETS:
        most = LARGEST_WINDOW_PACKETS * settings.payload_bytes
        message = f"{window} bytes are less than one packet of {settings.payload_bytes}"
        if window > most:
            message = (
                f"{window} bytes are more than {most}, half the packet numbers in packets of {settings.payload_bytes}"
            )
        raise ExperimentError([experiment.fault(("transport", "window"), message)])
    coded, posted = settings.recovery == "erasure", settings.receive_queue == "posted"
    block = settings.erasure.data * settings.payload_bytes
    if coded and window < block:
        # Nothing could be rebuilt before the window closed on it.
        message = f"{window} bytes do not hold a block of {settings.erasure.data} packets, {block} bytes"
        raise ExperimentError([experiment.fault(("transport", "window"), message)])
    by_timer = settings.recovery == "timer"
    if by_timer and window < settings.chunk:
        # It would close before the end of a chunk, which alone is acknowledged.
        message = f"{window} bytes do not hold a chunk of {settings.chunk}"
        raise ExperimentError([experiment.fault(("transport", "window"), message)])
    document: planned.Transport = {
        "recovery": settings.recovery,
        "verb": settings.verb,
        "mtu_bytes": settings.payload_bytes,
        "ack_every": settings.packets_per_ack,
        "window_bytes": window,
        "timeout_ps": timeout.in_force(pairs, costs, window),
        "retries": settings.retries,
        "congestion_control": controlling.compiled(lab, experiment, pairs, costs),
    }
    if settings.frames is not None:
        sizes = settings.frames
        document["frames"] = {"header_bytes": sizes.header_bytes, "ack_bytes": sizes.ack_bytes}
    if coded:
        document["erasure"] = {"data": settings.erasure.data, "parity": settings.erasure.parity}
    if by_timer:
        document["chunk_packets"] = settings.chunk // settings.payload_bytes
    if posted:
        document["rnr"] = {"timer": settings.rnr_timer, "retries": settings.rnr_retries}
    return document


def _path_costs(pairs: QueuePairs) -> list[PathCost]:
    """Return what the paths of the queue pairs cost that use the network, each pair of ports once."""
    different = dict.fromkeys(ends for ends in pairs.ends if ends is not None)
    costs = []
    for ends in different:
        cost = pairs.costs.between(*ends)
        if cost is None:
            raise ExperimentError.at("experiment", "workload", f"no path between {ends.a[0]} and {ends.b[0]}")
        costs.append(cost)
    return costs


def _window(costs: Sequence[PathCost], settings: Transport) -> int:
    """Return twice the largest bandwidth-delay product, in whole packets; three times unless all is sent again after a loss.

    Once would do for a path without queues; twice keeps it full while as much again stands in them, or while a lost packet
    is asked for and sent again, which is once more to be lost when it is lost again. The sender must not come to its
    window's end before the acknowledgement that it asked for is due, or before a block can be rebuilt.
    """
    product = max((cost.rate_bps * cost.round_trip_ps for cost in costs), default=0)
    times = 2 if settings.recovery == "go-back-n" else 3
    packets = -(-times * product // (8 * PS_PER_SECOND * settings.payload_bytes))
    waited_for = settings.packets_per_ack
    if settings.recovery == "erasure":
        waited_for = max(waited_for, settings.erasure.data + settings.erasure.parity)
    elif settings.recovery == "timer":
        waited_for = settings.chunk // settings.payload_bytes
    return min(max(packets, 4 * waited_for, SMALLEST_WINDOW_PACKETS), LARGEST_WINDOW_PACKETS) * settings.payload_bytes
