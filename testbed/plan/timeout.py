"""The retransmission timeout of a workload, asked for or derived from paths and windows; the same for both clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from testbed.experiment.transport import LARGEST_EXPONENT, TIMEOUT_UNIT_PS, timeout_ps
from testbed.lab.paths import Target
from testbed.plan.queue_pairs import Ends, QueuePairs
from testbed.plan.routing import PathCost
from testbed.schema.fields import AUTO
from testbed.units import serialisation_ps

SMALLEST_EXPONENT = 12  # 16.8 ms; adapters in the field are given no less, and a busy machine must not look like loss
_SMALLEST_PS = TIMEOUT_UNIT_PS << SMALLEST_EXPONENT


def in_force(pairs: QueuePairs, costs: Sequence[PathCost], window_bytes: int) -> int:
    """Return the timeout of queue pairs, in ps; `costs` are those of their paths.

    Go-back-N: four times what an unlucky acknowledgement may take, in InfiniBand's steps, or a window would be sent again in
    vain. That is the longest round trip, and the time for which pauses may hold a packet back: until the windows of all queue
    pairs of the busiest port have drained at the lowest rate, be it that of a NIC, or what credits carry.

    The others send little again: two round trips, and the windows that may stand before a packet and its acknowledgement.

    Of a window no more stands on a path than the credits that its links grant.
    """
    settings = pairs.experiment.transport
    round_trip_ps = max((cost.round_trip_ps for cost in costs), default=0)
    if settings.timeout != AUTO:
        return timeout_ps(settings.timeout, round_trip_ps)
    if not costs:
        return _SMALLEST_PS
    hosts = {rank.host for rank in pairs.ranks}
    drains = [host.receive.drain_bps for host in pairs.lab.hosts if host.receive and host.name in hosts]
    slowest_bps = min([*(cost.carried_bps for cost in costs), *drains])
    standing_bytes = min(window_bytes, max(cost.held_bytes for cost in costs))
    if settings.recovery != "go-back-n":
        windows = _windows_before(pairs, slowest_bps, own=settings.recovery == "timer")
        return max(2 * round_trip_ps + serialisation_ps(windows * standing_bytes, slowest_bps), _SMALLEST_PS)
    most = max(Counter(target for ends in pairs.ends if ends is not None for target in ends).values())
    unlucky_ps = round_trip_ps + serialisation_ps(most * standing_bytes, slowest_bps)
    steps = (TIMEOUT_UNIT_PS << n for n in range(SMALLEST_EXPONENT, LARGEST_EXPONENT))
    return next((step for step in steps if step >= 4 * unlucky_ps), TIMEOUT_UNIT_PS << LARGEST_EXPONENT)


def _windows_before(pairs: QueuePairs, slowest_bps: int, own: bool) -> int:
    """Return how many windows may stand before a packet, and before its acknowledgement on the way back, at most.

    Those of all flows that leave or enter by the same port. Where nothing else uses it, a flow's own packets queue only if its
    NIC is faster than the path. What stands before a packet of its own flow counts only with `own`: otherwise each of its
    acknowledgements starts the timer anew.
    """
    flows = list(pairs.flows())
    leaving, entering = Counter(ends.a for ends in flows), Counter(ends.b for ends in flows)
    kinds = Counter(flows)
    fast = {target for target in leaving if _rate_bps(pairs, target) > slowest_bps}

    def standing(sender: Target, receiver: Target) -> int:
        number = max(leaving[sender], entering[receiver])
        alone = number == kinds[Ends(sender, receiver)] == 1
        return 0 if alone and sender not in fast else number

    return max(
        (max(0, standing(there.a, there.b) - (not own)) + standing(there.b, there.a) for there in kinds), default=0
    )


def _rate_bps(pairs: QueuePairs, target: Target) -> int:
    host, port = target
    return pairs.lab.adjacent[host][port].link.rate_bps
