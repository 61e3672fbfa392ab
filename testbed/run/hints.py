"""Settings that have no effect in this lab and run, each said in a sentence. Pure; one function for each hint.

What a setting cannot do is known before the run from the plan; whether marks and congestion control did anything, only
afterwards from the report. A hint is no fault: the run is what was asked for, though perhaps not what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.buffers.queues import Reach, deepest_queue
from testbed.contract.plan import Marking, Plan, Switch, hosts_of, receivers_of, switches_of
from testbed.contract.report import Report
from testbed.contract.workload import Transport
from testbed.experiment.congestion import NOTIFY_PRIORITY
from testbed.experiment.file import Experiment
from testbed.lab.topology import Lab, Link
from testbed.schema.fields import AUTO
from testbed.units import format_rate, format_size

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Setup:
    """What a run will be. `pairs` are the stations that talk, each pair once; `transport` is that of its workload."""

    lab: Lab
    experiment: Experiment
    plan: Plan
    transport: Transport
    pairs: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Hint:
    """A setting by its dotted key, and why it has no effect."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


Rule = Callable[[Setup], Iterator[Hint]]


def before(setup: Setup) -> list[Hint]:
    """Return what can be said before a run."""
    return [hint for rule in _RULES for hint in rule(setup)]


def after(setup: Setup, report: Report) -> list[Hint]:
    """Return what only the report of a run shows."""
    return [*_never_marked(setup, report), *_never_acted(setup, report)]


def _given(section: Any, *names: str) -> list[str]:
    """Return which of these settings somebody gave, as their keys are written; `auto` and null are not given."""
    given = (name for name in names if name in section.model_fields_set and getattr(section, name) not in (None, AUTO))
    return [name.replace("_", "-") for name in given]


def _controls(setup: Setup) -> set[str]:
    """Return how links keep from losing frames: pfc, credit, none."""
    return {
        link.get("flow_control", "pfc") if setup.experiment.lossless.pfc else "none" for link in setup.plan["links"]
    }


def _marks_out_of_reach(setup: Setup) -> Iterator[Hint]:
    """Congestion marks whose kmin no queue reaches, or reaches only when its senders are paused already."""
    reach = deepest_queue(setup.plan, setup.experiment.lossless.priority, setup.pairs)
    if reach is None:
        return
    if reach.kmin_bytes >= reach.most_bytes:
        text = (
            f"kmin is {reach.kmin_bytes:,} bytes, and {_holds(reach)} at most {reach.most_bytes:,}: nothing is marked"
        )
    elif reach.kmin_bytes >= reach.unpaused_bytes:
        text = (
            f"kmin is {reach.kmin_bytes:,} bytes, and {_holds(reach)} {reach.unpaused_bytes:,} when its senders "
            f"are paused: pauses come before marks, if any come"
        )
    else:
        return
    yield Hint(_ecn_key(setup), f"{text}. Give a lower kmin, or a higher lossless.xoff")


def _ecn_key(setup: Setup) -> str:
    """Return the key that says what is marked."""
    return "lossless.ecn" if setup.experiment.lossless.ecn is not None else "topology.nodes.thresholds.ecn"


def _holds(reach: Reach) -> str:
    ports = f"{reach.inputs} port{'s' if reach.inputs > 1 else ''}"
    return f"the deepest queue of this workload, at {reach.port} behind {ports}, holds"


def _minimum_above_line(setup: Setup) -> Iterator[Hint]:
    """A lowest rate that is no lower than the line: no cut can have an effect."""
    control = setup.transport["congestion_control"]
    if control is None or control["kind"] == "swift" or control["kind"] == "nscc":
        return
    line_bps = min(_station_rates(setup))
    if control["minimum_bps"] >= line_bps:
        least, line = format_rate(control["minimum_bps"]), format_rate(line_bps)
        yield Hint(
            f"transport.{control['kind']}.minimum",
            f"{least} is not below the line's {line}, so no cut slows a sender down",
        )


def _station_rates(setup: Setup) -> list[int]:
    stations, nodes = setup.plan["stations"], setup.plan["nodes"]
    ends = {end for pair in setup.pairs for end in pair}
    ports = [nodes[stations[end]["node"]]["ports"][stations[end]["port"]] for end in ends]
    return [port["rate_bps"] for port in ports] or [2**63]


def _parameters_without_control(setup: Setup) -> Iterator[Hint]:
    """Parameters of a congestion control that is not in use."""
    chosen = setup.experiment.transport.congestion_control
    for name in ("dcqcn", "timely", "swift", "dctcp", "hpcc", "nscc"):
        if _given(setup.experiment.transport, name) and name != chosen:
            yield Hint(f"transport.{name}", f"has no effect without congestion-control: {name}")


def _erasure_without_coding(setup: Setup) -> Iterator[Hint]:
    """A code that nothing is coded with."""
    recovery = setup.experiment.transport.recovery
    if _given(setup.experiment.transport, "erasure") and recovery != "erasure":
        yield Hint("transport.erasure", f"has no effect with recovery: {recovery}, only with recovery: erasure")


def _chunk_without_timers(setup: Setup) -> Iterator[Hint]:
    """A chunk where packets are repeated, not chunks."""
    recovery = setup.experiment.transport.recovery
    if _given(setup.experiment.transport, "chunk") and recovery != "timer":
        yield Hint("transport.chunk", f"has no effect with recovery: {recovery}, only with recovery: timer")


def _rnr_without_posted_receives(setup: Setup) -> Iterator[Hint]:
    """What happens when a receive is missing, where none can be."""
    if setup.experiment.transport.receive_queue == "posted":
        return
    for key in _given(setup.experiment.transport, "rnr_timer", "rnr_retries"):
        yield Hint(f"transport.{key}", "has no effect where a receive is always there; it is for receive-queue: posted")


def _credits_without_credit_links(setup: Setup) -> Iterator[Hint]:
    """Windows of credits on links that run none."""
    controls = _controls(setup)
    if _given(setup.experiment.lossless, "credits") and "credit" not in controls:
        yield Hint(
            "lossless.credits", f"has no effect: the links run {' and '.join(sorted(controls))}, none of them credit"
        )
    links = zip(setup.lab.links, setup.plan["links"], strict=True)
    idle = [link for link, planned in links if link.credits_bytes is not None and "credits" not in planned]
    if idle:
        yield Hint("topology.links.credits", f"has no effect on {_named(idle)}: not under flow-control: credit")


def _watchdog_without_pauses(setup: Setup) -> Iterator[Hint]:
    """A watchdog against pauses that nobody sends."""
    if "pfc" in _controls(setup):
        return
    watchdog = setup.experiment.lossless.watchdog
    if watchdog is not None and watchdog.on is not False:
        yield Hint("lossless.watchdog", "has no effect: no link runs PFC, so nobody is paused")
    elif watchdog is None and any(switch.watchdog and switch.watchdog.on is not False for switch in setup.lab.switches):
        yield Hint("topology.nodes.watchdog", "has no effect: no link runs PFC, so nobody is paused")


def _thresholds_without_pauses(setup: Setup) -> Iterator[Hint]:
    """Settings of pauses where there are none."""
    if "pfc" in _controls(setup):
        return
    for key in _given(setup.experiment.lossless, "headroom", "small_share", "xoff", "xon", "response"):
        yield Hint(f"lossless.{key}", "has no effect: no link runs PFC, so nothing is paused at a threshold")


def _small_share_without_cells(setup: Setup) -> Iterator[Hint]:
    """A share of small frames where they take no more than others, or headroom is not derived."""
    lossless = setup.experiment.lossless
    shares = [
        switch
        for switch in setup.lab.switches
        if any(each.small_percent is not None for each in switch.every_thresholds)
    ]
    key = "lossless.small-share" if lossless.small_share is not None else "topology.nodes.thresholds.small-share"
    if lossless.small_share is None and not shares:
        return
    concerned = setup.lab.switches if lossless.small_share is not None else shares
    if isinstance(lossless.headroom, int) or all(switch.thresholds.headroom_bytes is not None for switch in concerned):
        yield Hint(key, "has no effect: headroom is given, not derived")
    elif all(switch.cell_bytes == 1 for switch in concerned):
        yield Hint(key, "has no effect: no switch has cells, so small frames take no more than their bytes")


def _dynamic_thresholds_replaced(setup: Setup) -> Iterator[Hint]:
    """Dynamic thresholds of the lab that static ones of the experiment put out of force."""
    static = _given(setup.experiment.lossless, "xoff", "xon")
    dynamic = [
        switch.name
        for switch in setup.lab.switches
        if any(each.alpha_log2 is not None for each in switch.every_thresholds)
    ]
    if static and dynamic:
        names = ", ".join(dynamic[:4]) + (" …" if len(dynamic) > 4 else "")
        key = f"lossless.{static[0]}"
        yield Hint("topology.nodes.thresholds.alpha", f"has no effect on {names}: {key} makes thresholds static")


def _receiver_thresholds_without_pauses(setup: Setup) -> Iterator[Hint]:
    """Thresholds of a NIC that pauses nobody."""
    quiet = {
        host["name"] for host in hosts_of(setup.plan) if any("priority" not in held for _, held in receivers_of(host))
    }
    idle = [
        host.name
        for host in setup.lab.hosts
        if host.receive and (host.receive.xoff_bytes is not None or host.receive.xon_bytes is not None)
        if host.name in quiet
    ]
    if idle:
        yield Hint("topology.nodes.nic", f"xoff and xon have no effect on {', '.join(idle[:4])}: its link runs no PFC")


def _quality_without_use(setup: Setup) -> Iterator[Hint]:
    """The BER of a link whose loss is given outright."""
    idle = [
        link
        for link in setup.lab.links
        if link.optics is not None and link.carrier and link.loss_process is None
        if any(getattr(link.optics, name) is not None for name in ("ber", "osnr_db", "margin_db"))
    ]
    if idle:
        yield Hint("topology.links.ber", f"has no effect on losses of {_named(idle)}: loss is given outright and wins")


def _real_clock_alone(setup: Setup) -> Iterator[Hint]:
    """Settings of the real clock under the virtual one."""
    if setup.experiment.clock == "real":
        return
    for key in _given(setup.experiment, "dilation", "emulation", "driver"):
        yield Hint(key, "has no effect under the virtual clock")


def _prices_without_profiles(setup: Setup) -> Iterator[Hint]:
    """Prices of links whose power is unknown."""
    if setup.experiment.prices is not None and not any(link.optics for link in setup.lab.links):
        yield Hint("prices", "has no effect: no link has a profile, and so none has a known power")


def _workload(setup: Setup) -> Iterator[Hint]:
    """Settings that the collective does not use."""
    workload = setup.experiment.workload
    collective = workload.definition
    if _given(workload, "redop") and collective.redop == "none":
        yield Hint("workload.redop", f"has no effect: {workload.collective} reduces nothing")
    if _given(workload, "root") and collective.root < 0:
        yield Hint("workload.root", f"has no effect: {workload.collective} has no root")
    if not collective.has_size and _given(workload, "size", "minbytes", "maxbytes"):
        yield Hint("workload.size", f"has no effect: {workload.collective} has no size")
    if workload.in_place and _given(workload, "in_place") and not collective.in_place:
        yield Hint(
            "workload.in-place", f"has no effect: {workload.collective} ({collective.algorithm}) has no in-place form"
        )
    for key in ("stepfactor", "stepbytes"):
        if _given(workload, key) and len(workload.sizes) == 1:
            yield Hint(f"workload.{key}", "has no effect: there is one size; give minbytes and maxbytes")
    if _given(workload, "slice") and collective.algorithm == "direct":
        yield Hint(
            "workload.slice", f"has no effect: nothing of {workload.collective} is passed on, and so it is sent whole"
        )


@dataclass(frozen=True)
class _Fullest:
    """The queue of a switch that came nearest to the length at which marks begin, and whether any frame was marked."""

    port: str
    held_bytes: int
    kmin_bytes: int
    marked: bool

    def __str__(self) -> str:
        return (
            f"the fullest queue, at {self.port}, held {_size(self.held_bytes)} of kmin {format_size(self.kmin_bytes)}"
        )


def _size(length: int) -> str:
    """Write a length in whole KB, or in bytes below one."""
    return f"{length / 1000:,.0f} KB" if length >= 1000 else f"{length} B"


def _fullest(setup: Setup, report: Report) -> _Fullest | None:
    """Return the fullest queue beside its kmin; None where no switch marks frames of the lossless priority."""
    priority = setup.experiment.lossless.priority
    kmins = {node["name"]: [mark["kmin_bytes"] for mark in _marks(node, priority)] for node in switches_of(setup.plan)}
    queues: list[_Fullest] = []
    for port, counters in report["ports"].items():
        kmin = min(kmins.get(port.partition(":")[0], ()), default=0)
        counted = counters["priorities"].get(str(priority))
        if kmin and counted is not None:
            marked = bool(counted.get("ecn_marked", 0))
            queues.append(_Fullest(port, counted.get("queue_bytes_max", 0), kmin, marked))
    if not queues:
        return None
    fullest = max(queues, key=lambda queue: queue.held_bytes / queue.kmin_bytes)
    return replace(fullest, marked=any(queue.marked for queue in queues))


def _never_marked(setup: Setup, report: Report) -> Iterator[Hint]:
    """Marks of which there were none."""
    fullest = _fullest(setup, report)
    if fullest is not None and not fullest.marked and not any(_marks_out_of_reach(setup)):
        yield Hint(_ecn_key(setup), f"no frame was marked; {fullest}")


def _marks(node: Switch, priority: int) -> list[Marking]:
    """Return the marks of a node's queues of one priority."""
    own: list[Marking] = [mark for mark in node.get("queue_ecn", ()) if mark["priority"] == priority]
    return [*own, *([node["ecn"]] if "ecn" in node else [])]


def _never_acted(setup: Setup, report: Report) -> Iterator[Hint]:
    """Congestion control that was never told to slow down."""
    control = setup.transport["congestion_control"]
    if control is None or control["kind"] != "dcqcn":
        return
    hosts = {host.name for host in setup.lab.hosts}
    notified = sum(
        port["priorities"][str(NOTIFY_PRIORITY)]["frames_tx"]
        for name, port in report["ports"].items()
        if name.partition(":")[0] in hosts and str(NOTIFY_PRIORITY) in port["priorities"]
    )
    if notified:
        return
    fullest = _fullest(setup, report)
    why = (
        "no receiver notified a sender of a mark"
        if fullest is not None
        else "no switch marks frames; give lossless.ecn"
    )
    if fullest is not None and not fullest.marked:
        why = f"no frame was marked; {fullest}"
    yield Hint("transport.congestion-control", f"DCQCN never acted: {why}")


def _named(links: Sequence[Link]) -> str:
    names = [f"{link.a} - {link.b}" for link in links[:3]]
    return ", ".join([*names, *(["…"] if len(links) > 3 else [])])


_RULES: tuple[Rule, ...] = (
    _marks_out_of_reach,
    _minimum_above_line,
    _parameters_without_control,
    _erasure_without_coding,
    _chunk_without_timers,
    _rnr_without_posted_receives,
    _credits_without_credit_links,
    _watchdog_without_pauses,
    _thresholds_without_pauses,
    _small_share_without_cells,
    _dynamic_thresholds_replaced,
    _receiver_thresholds_without_pauses,
    _quality_without_use,
    _real_clock_alone,
    _prices_without_profiles,
    _workload,
)
