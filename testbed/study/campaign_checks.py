"""What must be true of any run of a campaign, whatever was drawn, and what was at work in it.

The data plane saw nothing broken; frames are conserved, PAUSE and credit frames included; where links run PFC or credits
and have the headroom that they need, nothing is lost for lack of buffer, except behind a link that itself loses or changes
and where a watchdog ignores pauses; nothing is lost on links that do not lose; nothing is sent again where nothing was lost;
no deadlock where no buffers can wait in a circle, and no run that stands still without one; no watchdog accuses a host that
does as it should; every message complete once, with the right payload, or a connection that gave up for a reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from testbed.buffers import credits
from testbed.contract.plan import Plan
from testbed.contract.report import Report
from testbed.lab.topology import Switch
from testbed.plan.compile import compile_fabric
from testbed.run.execution import Outcome
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.schema.fields import AUTO
from testbed.traffic import Send

GIVEN_UP, NEVER_READY = "retry exceeded", "rnr retry exceeded"
OUT_OF_TIME = "its limit"
CAUSES = ("headroom", "buffer", "receiver", "link", "outage", "watchdog")
HARMLESS = {"storm", "weights"}
"""Changes of a port that cost no frame."""


@dataclass(frozen=True)
class Evidence:
    """A case that was run, and what was seen."""

    subject: Trial
    outcome: Outcome
    result: RunResult

    @property
    def report(self) -> Report:
        """The engine's last report."""
        return self.outcome.report

    def dropped(self, *causes: str) -> Iterator[tuple[str, int]]:
        """Yield the ports that lost frames by one of these causes, and how many."""
        for name, port in self.result.ports.items():
            lost = sum(priority.drops.model_dump()[cause] for priority in port.priorities.values() for cause in causes)
            if lost:
                yield name, lost

    def total(self, counter: str) -> int:
        """Return the sum of a counter over all ports and priorities."""
        entries = (entry for port in self.result.ports.values() for entry in port.priorities.values())
        return sum(int(getattr(entry, counter)) for entry in entries)

    def qps(self, counter: str) -> int:
        """Return the sum of a counter over all connections of the last call."""
        return sum(qp[counter] for qp in self.result.qps)

    @cached_property
    def unsteady(self) -> set[str]:
        """The ports at both ends of links that lost frames as they may, or that are changed while the run is on.

        A drain is a change too: it holds back PAUSE frames like all others.
        """
        about = {"at_ps", "link", "way", "label"}
        changed = {change["link"] for change in self.subject.changes if change.keys() - about - HARMLESS}
        lost = {port for port, _ in self.dropped("link")}
        ports = set()
        for number, link in enumerate(self.subject.lab.links):
            ends = {str(link.a), str(link.b)}
            loses = any(link.loss) or link.loss_process is not None
            if number in changed or (loses and ends & lost):
                ports |= ends
        return ports

    @cached_property
    def unguarded(self) -> set[str]:
        """The nodes at links that run neither PFC nor credits; they lose what comes over those at any of their ports."""
        settings = self.subject.experiment.lossless
        links = [link for link in self.subject.lab.links if credits.flow_control(link, settings) == "none"]
        return {end.node for link in links for end in (link.a, link.b)}

    @cached_property
    def unheeded(self) -> set[str]:
        """The ports at both ends of links on which a watchdog ignored pauses."""
        acted = {storm.port for storm in self.result.watchdog}
        ends = [{str(link.a), str(link.b)} for link in self.subject.lab.links]
        return {port for pair in ends if pair & acted for port in pair}

    @cached_property
    def short_of_headroom(self) -> set[str]:
        """The ports whose priority groups have less headroom than their links need, alone or all of them together."""
        ports = set()
        for node, deep in zip(self.subject.plan["nodes"], self._with_all_headroom()["nodes"], strict=True):
            if node["kind"] == "host" or deep["kind"] == "host":
                continue
            groups, pool = node["priority_groups"], node.get("headroom_pool_bytes", 0)
            oversubscribed = pool and sum(group["headroom_bytes"] for group in groups) > pool
            for group, needed in zip(groups, deep["priority_groups"], strict=True):
                if oversubscribed or group["headroom_bytes"] < needed["headroom_bytes"]:
                    ports.add(f"{node['name']}:{node['ports'][group['port']]['name']}")
        return ports

    def _with_all_headroom(self) -> Plan:
        """Return the plan of the same lab with switches so deep that all have the headroom that they need."""
        lab = self.subject.lab
        nodes = tuple(_deep(node) if isinstance(node, Switch) else node for node in lab.nodes)
        lossless = self.subject.experiment.lossless.model_copy(update={"headroom": AUTO})
        experiment = self.subject.experiment.model_copy(update={"lossless": lossless})
        return compile_fabric(lab.model_copy(update={"nodes": nodes}), experiment)


def _deep(switch: Switch) -> Switch:
    """Return a switch so deep that each of its groups has the headroom that it needs."""
    deep = {"buffer_bytes": None, "headroom_pool_bytes": 0, "pool_bytes": None, "own_thresholds": ()}
    thresholds = switch.thresholds.model_copy(update={"headroom_bytes": None})
    return switch.model_copy(update={**deep, "thresholds": thresholds})


def check_invariants(seen: Evidence) -> Iterator[str]:
    """What the data plane itself found broken, and conservation."""
    yield from (reason for reason in seen.result.verdict.reasons if reason.startswith("invariant violated"))


def check_deadlocks(seen: Evidence) -> Iterator[str]:
    """A deadlock only where buffers can wait in a circle."""
    if seen.result.verdict.deadlock and not seen.subject.cycles:
        yield "deadlock, and no buffers of this lab can wait in a circle"


def check_losses(seen: Evidence) -> Iterator[str]:
    """No frame lost for lack of buffer where it is guarded, but behind an unsteady link; none on a link that keeps them."""
    for port, lost in seen.dropped("headroom", "buffer", "receiver"):
        excused = seen.unsteady | seen.unheeded
        if port not in excused and port.partition(":")[0] not in seen.unguarded and port not in seen.short_of_headroom:
            yield f"{lost} frames lost for lack of buffer at {port}, whose link was in order"
    for port, lost in seen.dropped("link", "outage"):
        if port not in seen.unsteady:
            yield f"{lost} frames lost on the link at {port}, which was in order"
    acted = {storm.port for storm in seen.result.watchdog}
    for port, lost in seen.dropped("watchdog"):
        if port not in acted:
            yield f"{lost} frames lost to a watchdog at {port}, and none acted there"


def check_pauses(seen: Evidence) -> Iterator[str]:
    """PAUSE and credit frames that were sent and not heard are among those lost on links."""
    unheard = sum(seen.total(f"{kind}_tx") - seen.total(f"{kind}_rx") for kind in ("pause", "credit"))
    lost = sum(count for _, count in seen.dropped(*CAUSES))
    others = lost - seen.report["conservation"]["dropped"]
    if not 0 <= others <= max(unheard, 0):
        yield f"{others} lost frames are neither data nor among the {unheard} PAUSE and credit frames that were not heard"


def check_repetition(seen: Evidence) -> Iterator[str]:
    """Nothing is sent again where nothing was lost, no link changed, no receive was missing and nothing stood still."""
    again = seen.qps("retransmitted")
    lost = sum(count for _, count in seen.dropped(*CAUSES))
    excused = seen.subject.changes or seen.qps("rnr_naks_rx") or seen.result.deadlocks
    if again and not lost and not excused:
        yield f"{again} packets sent again, and none was lost"


def check_watchdogs(seen: Evidence) -> Iterator[str]:
    """A host is accused of a storm only if it was told to make one."""
    told = {entry.node for entry in seen.subject.experiment.timeline if entry.storm is not None}
    peers: dict[str, str] = {}
    for link in seen.subject.lab.links:
        peers |= {str(link.a): link.b.node, str(link.b): link.a.node}
    for storm in seen.result.watchdog:
        if storm.cause == "storm" and peers[storm.port] not in told:
            yield f"{storm.port} took {peers[storm.port]} for the source of a storm, and it made none"


def check_messages(seen: Evidence) -> Iterator[str]:
    """Every message arrived once and right, or its connection gave up for a reason."""
    rows = seen.outcome.rows
    for measured in [*rows, *(row["in_place"] for row in rows if row["in_place"])]:
        if measured["wrong"]:
            yield f"{measured['wrong']} wrong elements"
    reasons = "; ".join(seen.outcome.reasons)
    errors = {qp["error"] for qp in seen.result.qps if qp["error"]}
    lost = any(count for _, count in seen.dropped(*CAUSES))
    if seen.outcome.complete:
        yield from _flows(seen)
    elif not errors and not seen.result.deadlocks and not (lost and OUT_OF_TIME in reasons):
        yield f"no progress: {reasons}"
    elif NEVER_READY in errors and seen.subject.experiment.transport.receive_queue != "posted":
        yield f"gave up waiting for receives that are always there: {reasons}"
    elif GIVEN_UP in errors and not (lost or seen.subject.changes or seen.result.deadlocks):
        yield f"gave up, and every link was in order: {reasons}"


def _flows(seen: Evidence) -> Iterator[str]:
    """Hold the messages of the last workload against its schedule."""
    collective = seen.subject.collective
    call = dataclasses.replace(seen.subject.series.shapes()[-1], in_place=collective.in_place)
    sends = [op for rank in collective.schedule(call).ranks for op in rank.ops if isinstance(op, Send)]
    flows = seen.report["flows"]
    finished = [flow for flow in flows if flow["completion_ns"] is not None]
    if len(flows) != len(sends) or len(finished) != len(sends):
        yield f"{len(sends)} messages to send, {len(flows)} sent, {len(finished)} complete"
    asked, moved = sum(op.bytes for op in sends), sum(flow["bytes"] for flow in flows)
    if asked != moved:
        yield f"{asked} bytes to send, {moved} sent"
    if seen.report["conservation"]["in_flight"]:
        yield f"{seen.report['conservation']['in_flight']} frames still on their way at the end"


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    check_invariants,
    check_deadlocks,
    check_losses,
    check_pauses,
    check_repetition,
    check_watchdogs,
    check_messages,
)


def _took_place(seen: Evidence, key: str) -> bool:
    return any(key in row.set and row.at_ns is not None for row in seen.result.impairments)


def _has_host(seen: Evidence, ports: Iterable[str]) -> bool:
    """Tell whether a host with a slow NIC is among the nodes of these ports."""
    slow = {host.name for host in seen.subject.lab.hosts if host.receive}
    return any(port.partition(":")[0] in slow for port in ports)


def _pausing(seen: Evidence) -> list[str]:
    return [
        name for name, port in seen.result.ports.items() if any(entry.pause_tx for entry in port.priorities.values())
    ]


ACTIVE: dict[str, Callable[[Evidence], object]] = {
    "pauses": lambda seen: seen.total("pause_tx"),
    "credits": lambda seen: seen.total("credit_tx"),
    "waiting for credit": lambda seen: seen.total("credit_wait_ns"),
    "watchdog acted": lambda seen: seen.result.watchdog,
    "storm": lambda seen: _took_place(seen, "storm"),
    "slow NIC paused or dropped": lambda seen: _has_host(
        seen, [*_pausing(seen), *(port for port, _ in seen.dropped("receiver"))]
    ),
    "receiver drops": lambda seen: list(seen.dropped("receiver")),
    "weights": lambda seen: any(any(switch.weights) for switch in seen.subject.lab.switches),
    "weights changed": lambda seen: _took_place(seen, "weights"),
    "late ranks": lambda seen: seen.subject.experiment.workload.late,
    "receive not posted": lambda seen: seen.qps("rnr_naks_rx"),
    "headroom used": lambda seen: seen.total("headroom_bytes_max"),
    "headroom too small": lambda seen: list(seen.dropped("headroom")),
    "shared memory": lambda seen: any(node.get("pool_bytes") for node in seen.subject.plan["nodes"]),
    "circuits moved": lambda seen: any(
        row.at_ns is not None and row.label.endswith("bright") for row in seen.result.impairments
    ),
    "buffers in a circle": lambda seen: seen.subject.cycles,
    "deadlock": lambda seen: seen.result.deadlocks,
    "several rows or iterations": lambda seen: (
        len(seen.outcome.rows) > 1 or seen.subject.experiment.workload.iterations > 1
    ),
    "marks": lambda seen: seen.total("ecn_marked"),
    "link losses": lambda seen: list(seen.dropped("link")),
    "outages": lambda seen: list(seen.dropped("outage")),
    "sent again": lambda seen: seen.qps("retransmitted"),
    "rebuilt from parity": lambda seen: any(qp["erasure"] and qp["erasure"]["recovered"] for qp in seen.result.qps),
    "link changed": lambda seen: any(row.at_ns is not None for row in seen.result.impairments),
}
"""Features, and how to see in a run that each was at work."""


def active(seen: Evidence) -> tuple[str, ...]:
    """Return the features that were at work in a run."""
    return tuple(name for name, is_active in ACTIVE.items() if is_active(seen))
