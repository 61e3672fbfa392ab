"""Compile a schedule into the workload of a fabric: queue pairs, ops, and the transport's window and timeout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from testbed.contract import workload as planned
from testbed.errors import ExperimentError, nearest
from testbed.experiment.file import Experiment
from testbed.experiment.transport import LARGEST_EXPONENT, TIMEOUT_UNIT_PS, Transport, timeout_ps
from testbed.lab.topology import Lab, Link
from testbed.plan.addressing import stable_hash
from testbed.plan.compile import SCHEMA, dscp_of, rank_hosts
from testbed.plan.ops import Pair, compile_ops
from testbed.plan.routing import PathCost, PathCosts, Routing
from testbed.schema.fields import AUTO
from testbed.sizes import (
    AETH_BYTES,
    ETHERNET_HEADER_BYTES,
    FCS_BYTES,
    LINE_OVERHEAD_BYTES,
    PETH_BYTES,
    RETH_BYTES,
    ROCE_OVERHEAD_BYTES,
)
from testbed.traffic import Recv, Schedule, Send
from testbed.units import PS_PER_SECOND, serialisation_ps

FIRST_QPN = 17  # 0 and 1 are reserved, and small numbers are left to management as RDMA stacks do
QUEUE_PAIRS = 2**24 - FIRST_QPN  # a queue pair's number has 24 bits
FIRST_ENTROPY = 49_152  # the dynamic UDP ports, RFC 6335; RoCEv2 puts a flow's entropy in its source port
ENTROPY_PORTS = 16_384
# Around the payload of the longest packet, parity aside: in an IP packet, and on the line; and an acknowledgement there.
IP_OVERHEAD_BYTES = ROCE_OVERHEAD_BYTES - ETHERNET_HEADER_BYTES + RETH_BYTES
WIRE_OVERHEAD_BYTES = ROCE_OVERHEAD_BYTES + RETH_BYTES + FCS_BYTES + LINE_OVERHEAD_BYTES
ACK_WIRE_BYTES = ROCE_OVERHEAD_BYTES + AETH_BYTES + FCS_BYTES + LINE_OVERHEAD_BYTES
SMALLEST_WINDOW_PACKETS = 64
LARGEST_WINDOW_PACKETS = 2**23 - 1  # half the PSN space, less one
SMALLEST_EXPONENT = 12  # 16.8 ms; adapters in the field are given no less, and a busy machine must not look like loss


def compile_workload(lab: Lab, experiment: Experiment, schedule: Schedule) -> planned.Workload:
    """Compile a schedule whose rank i runs on the i-th of `rank_hosts`.

    Raises ExperimentError if there are not as many hosts as ranks, two ranks that talk have no path, or a packet does
    not fit the links. Cost: linear in the ops; each pair that talks costs a few look-ups.
    """
    hosts = rank_hosts(lab, experiment)
    if len(hosts) != len(schedule.ranks):
        message = f"{len(schedule.ranks)} ranks on {len(hosts)} hosts"
        raise ExperimentError.at("experiment", "workload.ranks", message)
    _check_mtu(lab, experiment)
    late = _late_ranks(experiment, hosts)
    pairs = talking_pairs(schedule)
    if len(pairs) > QUEUE_PAIRS:
        message = f"{len(pairs)} pairs of ranks talk; a fabric numbers {QUEUE_PAIRS} queue pairs"
        raise ExperimentError([experiment.fault(("workload", "ranks"), message)])
    channels = _channels(schedule)
    numbers = {channel: index for index, channel in enumerate(channels)}
    node = {entry.name: index for index, entry in enumerate(lab.nodes)}
    priority = experiment.lossless.priority
    return {
        "schema": SCHEMA,
        "priority": priority,
        "dscp": dscp_of(priority),
        "transport": _transport(lab, experiment, hosts, pairs),
        "qps": [
            {"a": a, "b": b, "qpn": FIRST_QPN + index, "entropy": _entropy(experiment.seed, a, b, channel)}
            for index, (a, b, channel) in enumerate(channels)
        ],
        "ranks": [
            {
                "node": node[host],
                "memory_bytes": ranked.memory_bytes,
                "ops": compile_ops(rank, ranked, numbers, late.get(host)),
            }
            for rank, (host, ranked) in enumerate(zip(hosts, schedule.ranks, strict=True))
        ],
    }


def transport_of(lab: Lab, experiment: Experiment, pairs: Sequence[Pair]) -> planned.Transport:
    """Return the transport of ranks that talk, with what was `auto` decided; raises what `compile_workload` does."""
    return _transport(lab, experiment, rank_hosts(lab, experiment), pairs)


def talking_pairs(schedule: Schedule) -> list[Pair]:
    """Return the pairs of ranks that exchange messages, lower rank first, in ascending order."""
    pairs = set()
    for rank, ranked in enumerate(schedule.ranks):
        for op in ranked.ops:
            if isinstance(op, Send | Recv):
                pairs.add((min(rank, op.peer), max(rank, op.peer)))
    return sorted(pairs)


def _channels(schedule: Schedule) -> list[tuple[int, int, int]]:
    """Return the pairs of ranks that exchange messages and the channels that they do it on, in ascending order."""
    found = set()
    for rank, ranked in enumerate(schedule.ranks):
        for op in ranked.ops:
            if isinstance(op, Send | Recv):
                found.add((min(rank, op.peer), max(rank, op.peer), op.channel))
    return sorted(found)


def _entropy(seed: int, a: int, b: int, channel: int) -> int:
    words = (seed, a, b, channel) if channel else (seed, a, b)
    return FIRST_ENTROPY + stable_hash("entropy", *words) % ENTROPY_PORTS


def _late_ranks(experiment: Experiment, hosts: Sequence[str]) -> Mapping[str, int]:
    late = experiment.workload.late
    unknown = [name for name in late if name not in hosts]
    if unknown:
        message = f"no rank runs on {unknown[0]}{nearest(unknown[0], hosts)}"
        raise ExperimentError([experiment.fault(("workload", "late", unknown[0]), message)])
    return late


def _check_mtu(lab: Lab, experiment: Experiment) -> None:
    parity = PETH_BYTES if experiment.transport.recovery == "erasure" else 0
    needed = experiment.transport.mtu + IP_OVERHEAD_BYTES + parity
    small = [link for link in lab.links if link.mtu_bytes < needed]
    if small:
        message = f"packets of {needed} bytes do not fit link {small[0].a} - {small[0].b}, mtu {small[0].mtu_bytes}"
        raise ExperimentError.at("experiment", "transport.mtu", message)


def _transport(lab: Lab, experiment: Experiment, hosts: Sequence[str], pairs: Sequence[Pair]) -> planned.Transport:
    settings = experiment.transport
    costs = _path_costs(lab, settings.mtu, hosts, pairs)
    window = _window(costs, settings) if settings.window == AUTO else settings.window
    if not 1 <= window // settings.mtu <= LARGEST_WINDOW_PACKETS:
        most = LARGEST_WINDOW_PACKETS * settings.mtu
        message = f"{window} bytes are less than one packet of {settings.mtu}"
        if window > most:
            message = f"{window} bytes are more than {most}, half the packet numbers in packets of {settings.mtu}"
        raise ExperimentError([experiment.fault(("transport", "window"), message)])
    coded, posted = settings.recovery == "erasure", settings.receive_queue == "posted"
    block = settings.erasure.data * settings.mtu
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
        "mtu_bytes": settings.mtu,
        "ack_every": settings.ack_every,
        "window_bytes": window,
        "timeout_ps": _timeout_ps(lab, settings, hosts, costs, pairs, window),
        "retries": settings.retries,
        "congestion_control": _congestion_control(lab, experiment, hosts),
    }
    if coded:
        document["erasure"] = {"data": settings.erasure.data, "parity": settings.erasure.parity}
    if by_timer:
        document["chunk_packets"] = settings.chunk // settings.mtu
    if posted:
        document["rnr"] = {"timer": settings.rnr_timer, "retries": settings.rnr_retries}
    return document


def _congestion_control(lab: Lab, experiment: Experiment, hosts: Sequence[str]) -> planned.Dcqcn | None:
    settings = experiment.transport
    if settings.congestion_control == "none":
        return None
    chosen = set(hosts)
    rate_bps = min(link.rate_bps for link in lab.links if {link.a.node, link.b.node} & chosen)
    return cast(planned.Dcqcn, settings.dcqcn.plan(rate_bps))


def _path_costs(lab: Lab, mtu: int, hosts: Sequence[str], pairs: Sequence[Pair]) -> list[PathCost]:
    packet = mtu + WIRE_OVERHEAD_BYTES

    def round_trip(link: Link) -> int:
        there, back = serialisation_ps(packet, link.rate_bps), serialisation_ps(ACK_WIRE_BYTES, link.rate_bps)
        return 2 * link.delay_ps + there + back

    paths = PathCosts(Routing(lab), round_trip)
    costs = []
    for a, b in pairs:
        cost = paths.between((hosts[a], 0), (hosts[b], 0))
        if cost is None:
            raise ExperimentError.at("experiment", "workload", f"no path between {hosts[a]} and {hosts[b]}")
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
    packets = -(-times * product // (8 * PS_PER_SECOND * settings.mtu))
    waited_for = settings.ack_every
    if settings.recovery == "erasure":
        waited_for = max(waited_for, settings.erasure.data + settings.erasure.parity)
    elif settings.recovery == "timer":
        waited_for = settings.chunk // settings.mtu
    return min(max(packets, 4 * waited_for, SMALLEST_WINDOW_PACKETS), LARGEST_WINDOW_PACKETS) * settings.mtu


def _timeout_ps(
    lab: Lab,
    settings: Transport,
    hosts: Sequence[str],
    costs: Sequence[PathCost],
    pairs: Sequence[Pair],
    window_bytes: int,
) -> int:
    """Return the timeout that was asked for, or what `auto` comes to. It is the same for both clocks.

    Go-back-N: four times what an unlucky acknowledgement may take, in InfiniBand's steps, or a window would be sent again in
    vain. That is the longest round trip, and the time for which pauses may hold a packet back: until the windows of all queue
    pairs of the busiest rank have drained at the lowest rate, be it that of a NIC.

    The others send little again, and any acknowledgement starts their timers anew, so that what stands before a packet of its
    own flow does not count: two round trips, and the windows of the other queue pairs.
    """
    round_trip_ps = max((cost.round_trip_ps for cost in costs), default=0)
    if settings.timeout != AUTO:
        return timeout_ps(settings.timeout, round_trip_ps)
    if not costs:
        return TIMEOUT_UNIT_PS << SMALLEST_EXPONENT
    busy = Counter(rank for pair in pairs for rank in pair)
    drains = [host.receive.drain_bps for host in lab.hosts if host.receive and host.name in hosts]
    slowest = min([*(cost.rate_bps for cost in costs), *drains])
    most = max(busy.values())
    if settings.recovery != "go-back-n":
        others_ps = serialisation_ps((most - 1) * window_bytes, slowest)
        return max(2 * round_trip_ps + others_ps, TIMEOUT_UNIT_PS << SMALLEST_EXPONENT)
    unlucky_ps = round_trip_ps + serialisation_ps(most * window_bytes, slowest)
    steps = (TIMEOUT_UNIT_PS << n for n in range(SMALLEST_EXPONENT, LARGEST_EXPONENT))
    return next((step for step in steps if step >= 4 * unlucky_ps), TIMEOUT_UNIT_PS << LARGEST_EXPONENT)
