"""Who imposes a link's delay and loss: netem in the kernel, or the data plane itself (`native`).

Pure: what each direction of a link asks of netem, the plan that is left for the data plane, and how the kernel's losses
come into the report. A link is netem's where the kernel has it and can do what the link asks; else it stays native, with
the reason. Delays are nominal in the plan and wall time in netem: longer by the dilation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from testbed.contract.plan import Link, LossProcess, Plan
from testbed.contract.report import LinkListing, Packets, PortFigures, PriorityFigures, Report
from testbed.errors import HostError
from testbed.lab.endpoints import name_of
from testbed.lab.topology import DEFAULT_MTU_BYTES, FRAME_OVERHEAD_BYTES
from testbed.optics.loss import Codewords
from testbed.plan.addressing import stable_hash
from testbed.sizes import SHORTEST_FRAME_BYTES
from testbed.system import netem
from testbed.system.netem import GilbertElliott, Loss, Netem
from testbed.units import PS_PER_NS

Mode = Literal["netem", "native"]
Document = dict[str, Any]
Place = tuple[int, int]  # node and port, as the plan counts them

IMPOSED = ("delay_ps", "jitter_ps", "loss_process")
"""Keys of a change that are netem's business where a link is."""

_KERNEL_PRIORITY = "0"

_NEVER_SEEN = 1e-12
"""A loss by failing codewords that is rarer than this, for the longest frame, is left out: no run sends so many frames."""


@dataclass(frozen=True)
class Emulation:
    """Who imposes a link, and why not netem where it does not."""

    mode: Mode
    reason: str = ""


@dataclass(frozen=True)
class Backlog:
    """What one end of a link has done with frames, in the kernel: `lost` on purpose or not, `queued` still under way."""

    lost: int
    queued: int


def choose(plan: Plan, dilation: int, has_netem: Callable[[], bool]) -> list[Emulation]:
    """Decide who imposes each link of a plan; its key `emulation` may ask for `netem` or `native`.

    Raises HostError if netem is asked for and this kernel does not have it.
    """
    wanted = plan.get("emulation", "auto")
    if wanted == "native":
        return [Emulation("native", "asked for") for _ in plan["links"]]
    if not has_netem():
        if wanted == "netem":
            raise HostError("emulation netem: this kernel does not have sch_netem; use auto or native")
        return [Emulation("native", "this kernel does not have sch_netem") for _ in plan["links"]]
    return [_emulation(plan, number, dilation) for number in range(len(plan["links"]))]


def _emulation(plan: Plan, number: int, dilation: int) -> Emulation:
    if plan["links"][number].get("emulation") == "native":
        return Emulation("native", "changes at exact times")
    if plan["links"][number]["medium"] == "vxlan":
        return Emulation("native", "crosses to another machine")
    if plan["links"][number]["medium"] != "veth":
        return Emulation("native", "no interface")
    try:
        for way in (0, 1):
            settings(plan, number, way, dilation)
    except ValueError as error:
        return Emulation("native", str(error))
    return Emulation("netem")


def settings(plan: Plan, number: int, way: int, dilation: int) -> Netem:
    """Return what netem shall do to the frames of one direction of a link. Raises ValueError if it cannot."""
    link = plan["links"][number]
    node, port = (link["a"], link["b"])[way]
    rate_bps = max(int(plan["nodes"][node]["ports"][port]["rate_bps"]) // dilation, 1)
    delay_ns = int(link.get("delay_ps", 0)) * dilation // PS_PER_NS
    losses = link.get("loss", (0.0, 0.0))
    processes = link.get("loss_process", (None, None))
    wanted = Netem(
        delay_ns=delay_ns,
        loss=_both(losses[way], None if _is_never_seen(processes[way], link) else processes[way]),
        limit=netem.limit_for(rate_bps, delay_ns, SHORTEST_FRAME_BYTES),
        seed=stable_hash("netem", plan["lab"], plan.get("seed", 0), number, way),
    )
    _require_exact(wanted)
    return wanted


def _is_never_seen(process: LossProcess | None, link: Link) -> bool:
    """Return whether a process is one of codewords that fail too rarely to be worth leaving a link to the data plane."""
    if process is None or process["kind"] != "codewords":
        return False
    codewords = Codewords(process["per_second"], process["burst_ps"], process["rate_bps"])
    longest_bytes = int(link.get("mtu_bytes", DEFAULT_MTU_BYTES)) + FRAME_OVERHEAD_BYTES
    return codewords.frame_loss(longest_bytes) < _NEVER_SEEN


def _require_exact(settings: Netem) -> None:
    """Raise ValueError if the kernel would store something else."""
    inexact = netem.differences(settings, netem.decode(netem.encode(settings)))
    if inexact:
        raise ValueError("; ".join(inexact))


def _both(probability: float, process: Mapping[str, Any] | None) -> Loss:
    """Return the loss of a link that loses a frame if either says so."""
    chain = loss_of(process)
    if not isinstance(chain, GilbertElliott):
        assert isinstance(chain, float)
        return _either(probability, chain)
    if not probability:
        return chain
    bad, good = (_either(probability, loss) for loss in (chain.loss_bad, chain.loss_good))
    return GilbertElliott(chain.to_bad, chain.to_good, bad, good)


def _either(a: float, b: float) -> float:
    return a + b - a * b


def loss_of(process: Mapping[str, Any] | None) -> Loss:
    """Return a loss process of the plan as netem has it. Raises ValueError for one that netem cannot do."""
    if process is None:
        return 0.0
    if process["kind"] == "bernoulli":
        return float(process["probability"])
    if process["kind"] == "gilbert-elliott":
        bad, good = process.get("loss_bad", 1.0), process.get("loss_good", 0.0)
        return GilbertElliott(process["enter"], process["leave"], bad, good)
    raise ValueError(f"netem has no loss process {process['kind']}")


def with_native(plan: Plan, links: Collection[int]) -> Plan:
    """Return a plan some of whose links netem is to leave alone, whatever it could do."""
    marked: list[Link] = [
        {**link, "emulation": "native"} if number in links else link for number, link in enumerate(plan["links"])
    ]
    return {**plan, "links": marked}


def timed(changes: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the links whose delay, jitter or loss changes: at nominal times that only the data plane can keep."""
    return sorted({change["link"] for change in changes if any(key in change for key in IMPOSED)})


def for_netem(plan: Plan, emulations: Sequence[Emulation]) -> Plan:
    """Return the plan for the data plane: what netem imposes is not in it, lest it be imposed twice."""
    reduced = plan.copy()
    reduced.pop("emulation", None)
    reduced["links"] = [
        _without_distance(link) if emulation.mode == "netem" else link
        for link, emulation in zip(plan["links"], emulations, strict=True)
    ]
    return reduced


def _without_distance(link: Link) -> Link:
    kept = link.copy()
    kept.pop("loss_process", None)
    return {**kept, "delay_ps": 0, "loss": [0.0, 0.0], "emulation": "netem"}


def ends(plan: Plan, emulations: Sequence[Emulation], dilation: int) -> dict[Place, Netem]:
    """Return what each end of the links that are netem's shall do to what it sends."""
    return {
        (place[0], place[1]): settings(plan, number, way, dilation)
        for number, link in _imposed(plan, emulations)
        for way, place in enumerate((link["a"], link["b"]))
    }


def _imposed(plan: Plan, emulations: Sequence[Emulation]) -> Iterator[tuple[int, Link]]:
    for number, link in enumerate(plan["links"]):
        if emulations[number].mode == "netem":
            yield number, link


def listing(plan: Plan, emulations: Sequence[Emulation]) -> list[LinkListing]:
    """Return who imposes each link, as results and `inspect` say it."""
    listing = []
    for link, emulation in zip(plan["links"], emulations, strict=True):
        row: LinkListing = {"ends": [name_of(plan, link["a"]), name_of(plan, link["b"])], "emulation": emulation.mode}
        if emulation.reason:
            row["reason"] = emulation.reason
        listing.append(row)
    return listing


def longest_delay_ns(plan: Plan, emulations: Sequence[Emulation], dilation: int) -> int:
    """Return how long the kernel holds a frame at most, in wall time; 0 if it holds none."""
    return max((end.delay_ns + end.jitter_ns for end in ends(plan, emulations, dilation).values()), default=0)


def lossy_ends(plan: Plan, emulations: Sequence[Emulation]) -> set[str]:
    """Return the ends, as `node:port`, at which netem is asked to lose frames."""
    return {name_of(plan, place) for place, end in ends(plan, emulations, 1).items() if netem.loses(end.loss)}


def changed(present: Netem, change: Mapping[str, Any], dilation: int) -> Netem:
    """Return settings with what an impairment names put in place of what was: `delay_ps`, `jitter_ps`, `loss_process`.

    Jitter is uniform in [0, jitter] and comes on top of the delay. Raises ValueError for what netem cannot do.
    """
    unknown = change.keys() - set(IMPOSED)
    if unknown:
        raise ValueError(f"netem cannot impose {', '.join(sorted(unknown))}")
    delay_ns = present.delay_ns - present.jitter_ns
    spread_ns = 2 * present.jitter_ns
    if "delay_ps" in change:
        delay_ns = int(change["delay_ps"]) * dilation // PS_PER_NS
    if "jitter_ps" in change:
        spread_ns = int(change["jitter_ps"]) * dilation // PS_PER_NS
    # The kernel's jitter goes both ways from the mean.
    half_ns = spread_ns // 2
    stretched = netem.stretched(present, delay_ns + half_ns, half_ns)
    if "loss_process" in change:
        stretched = netem.with_loss(stretched, loss_of(change["loss_process"]))
    _require_exact(stretched)
    return stretched


def nominal(netem: Netem, dilation: int) -> Document:
    """Return settings as an impairment would name them, in nominal time."""
    loss: Document | None = None
    if isinstance(netem.loss, GilbertElliott):
        chain = netem.loss
        loss = {"kind": "gilbert-elliott", "enter": chain.to_bad, "leave": chain.to_good}
        loss |= {"loss_good": chain.loss_good, "loss_bad": chain.loss_bad}
    elif isinstance(netem.loss, float) and netem.loss:
        loss = {"kind": "bernoulli", "probability": netem.loss}
    delay_ns = netem.delay_ns - netem.jitter_ns
    return {
        "delay_ps": delay_ns * PS_PER_NS // dilation,
        "jitter_ps": 2 * netem.jitter_ns * PS_PER_NS // dilation,
        "loss_process": loss,
    }


# What the kernel did, in the report


def merge(
    report: Report,
    plan: Plan,
    emulations: Sequence[Emulation],
    backlogs: Mapping[str, Backlog],
    lossy: Collection[str],
) -> Report:
    """Return an engine's report with the kernel's losses in it, and with who imposed each link.

    `backlogs` by end of a link; `lossy`: the ends at which losses are asked for. All others count as overflow of netem.

    A loss belongs to the port that sent the frame, and there to the priority of which fewer frames arrived than left.
    What is lost beyond that was sent by a host's kernel and never entered the fabric: its lossy priority bears it. A frame
    that a full queue turned away was not lost, as it was sent again, yet the kernel counts it.
    """
    merged = copy.deepcopy(report)
    fidelity = merged.get("fidelity")
    turned_away = fidelity.get("turned_away", {}) if fidelity is not None else {}
    total_lost, total_queued, overflow = 0, 0, 0
    for _number, link in _imposed(plan, emulations):
        for here, there in ((link["a"], link["b"]), (link["b"], link["a"])):
            sender = name_of(plan, here)
            backlog = backlogs.get(sender, Backlog(0, 0))
            lost = max(backlog.lost - turned_away.get(sender, 0), 0)
            overflow += turned_away.get(sender, 0) + (0 if sender in lossy else lost)
            _attribute(merged["ports"], sender, name_of(plan, there), lost)
            total_lost += lost
            total_queued += backlog.queued
    merged["drops"]["link"] += total_lost
    for tally in (merged.get("conservation"), merged.get("kernel_frames")):
        if tally is not None:
            total_lost -= _settle(tally, "dropped", total_lost)
            total_queued -= _settle(tally, "in_flight", total_queued)
    if fidelity is not None:
        fidelity["netem_overflow"] = overflow
        fidelity["links"] = listing(plan, emulations)
    return merged


def _attribute(ports: dict[str, PortFigures], sender: str, receiver: str, lost: int) -> None:
    """Write `lost` frames into the drops of the port that sent them."""
    sent, received = ports[sender]["priorities"], ports[receiver]["priorities"]
    left = lost
    for priority, counters in sent.items():
        arrived = received[priority].get("frames_rx", 0) if priority in received else 0
        missing = counters["frames_tx"] - counters["drops"].get("link", 0) - arrived
        share = max(min(missing, left), 0)
        counters["drops"]["link"] = counters["drops"].get("link", 0) + share
        left -= share
    for priority, counters in sent.items():  # PAUSE frames, which are counted apart
        arrived = received[priority].get("pause_rx", 0) if priority in received else 0
        missing = counters.get("pause_tx", 0) - arrived
        share = max(min(missing, left), 0)
        counters["drops"]["link"] += share
        left -= share
    if left:
        # Where nothing else is known of that priority, that alone is told.
        counters = sent.setdefault(_KERNEL_PRIORITY, cast(PriorityFigures, {"drops": {}}))
        counters["drops"]["link"] = counters["drops"].get("link", 0) + left


def _settle(tally: Packets, kind: Literal["dropped", "in_flight"], most: int) -> int:
    """Account for frames that were sent and are nowhere, at most for `most`; return for how many."""
    accounted = tally["delivered"] + tally["dropped"] + tally["in_flight"]
    waiting = max(min(tally["sent"] - accounted, most), 0)
    tally[kind] += waiting
    return int(waiting)
