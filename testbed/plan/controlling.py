"""Congestion control of a workload: the algorithm that the experiment names, for the NICs and the longest path that it uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from testbed.contract.congestion import CongestionControl
from testbed.errors import ExperimentError
from testbed.experiment.controls import Path
from testbed.experiment.file import Experiment
from testbed.lab.hosts import DEFAULT_RATE_BPS
from testbed.lab.topology import Lab
from testbed.plan.packets import full_packet_bytes
from testbed.plan.queue_pairs import QueuePairs
from testbed.plan.routing import PathCost
from testbed.schema.fields import AUTO
from testbed.sizes import ETHERNET_HEADER_BYTES, FCS_BYTES, LINE_OVERHEAD_BYTES

_SIMULATED = ("hpcc",)
"""Algorithms whose packets have no form on a real wire."""
_ORDERLY = ("go-back-n", "selective-repeat")
"""Recoveries whose acknowledgements say what has arrived of all that was sent."""


def check(lab: Lab, experiment: Experiment, costs: Sequence[PathCost]) -> None:
    """Raise ExperimentError for a congestion control that cannot act in a lab, on its clock or with its recovery."""
    settings = experiment.transport
    name, key = settings.congestion_control, ("transport", "congestion-control")
    if name in ("none", "dcqcn"):
        return
    message = None
    if name in _SIMULATED and experiment.clock == "real":
        message = f"{name} needs telemetry in packets, which the virtual clock alone carries"
    elif settings.recovery not in _ORDERLY:
        message = f"{name} does not go with recovery: {settings.recovery}; give {' or '.join(_ORDERLY)}"
    elif name == "hpcc":
        around = ETHERNET_HEADER_BYTES + FCS_BYTES + LINE_OVERHEAD_BYTES
        needed = full_packet_bytes(settings) - around + settings.hpcc.header_bytes(_links(costs))
        small = [link for link in lab.links if link.mtu_bytes < needed]
        if small:
            message = (
                f"packets of {needed} bytes with telemetry do not fit link {small[0].a} - {small[0].b}, "
                f"mtu {small[0].mtu_bytes}"
            )
    if message is not None:
        raise ExperimentError([experiment.fault(key, message)])


def compiled(
    lab: Lab, experiment: Experiment, pairs: QueuePairs, costs: Sequence[PathCost]
) -> CongestionControl | None:
    """Return the plan of congestion control, or None without one; `costs` are those of the paths of the queue pairs."""
    settings = experiment.transport
    if settings.congestion_control == "none":
        return None
    used = {target for ends in pairs.ends if ends is not None for target in ends}
    rates = [lab.adjacent[host][port].link.rate_bps for host, port in used]
    slowest_bps = min(rates, default=DEFAULT_RATE_BPS)
    if settings.congestion_control == "dcqcn":
        plan = settings.dcqcn.plan(slowest_bps)
        if settings.cnp_dscp != AUTO:
            plan["notify_dscp"] = settings.cnp_dscp
    else:
        longest_ps = max((cost.round_trip_ps for cost in costs), default=1)
        plan = getattr(settings, settings.congestion_control).plan(Path(longest_ps, _links(costs), slowest_bps))
    return cast(CongestionControl, plan)


def _links(costs: Sequence[PathCost]) -> int:
    return max((cost.links for cost in costs), default=1)
