"""One outcome out of those of the agents that ran a lab together: pure.

Each tells of its own nodes alone. What is counted is added up, what was measured is as bad as at the worst of them, and times are
brought to the clock of the first agent, on whose nominal time a workload began at `start_ps` as it did on the others' at theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from testbed import timeseries
from testbed.contract.pauses import Pauses
from testbed.contract.plan import Plan
from testbed.contract.report import (
    Agents,
    Connection,
    Crossed,
    Drops,
    Fidelity,
    FoundDeadlock,
    LinkListing,
    Packets,
    Report,
)
from testbed.lab.endpoints import name_of
from testbed.run.execution import Outcome
from testbed.run.flows import over_iterations
from testbed.run.pause_graph import combined, shifted

Json = dict[str, Any]


def combine(plan: Plan, parts: Mapping[str, Outcome]) -> Outcome:
    """Return the outcome of a run whose parts are given by agent, in the order of the plan's agents."""
    outcomes = list(parts.values())
    first = outcomes[0]
    complete = all(part.complete for part in outcomes)
    reasons = [f"agent {agent}: {reason}" for agent, part in parts.items() for reason in part.reasons]
    return Outcome(
        rows=_rows(outcomes),
        flows=_flows(outcomes),
        report=_report(plan, parts),
        pauses=_pauses(outcomes),
        complete=complete,
        interrupted=any(part.interrupted for part in outcomes),
        reasons=reasons,
        received_bits={port: bits for part in outcomes for port, bits in part.received_bits.items()},
        start_ps=first.start_ps,
        end_ps=first.end_ps if complete else None,
        impairments=first.impairments,
        series=timeseries.join([part.series for part in outcomes]),
        storms=[storm for part in outcomes for storm in part.storms],
    )


def _pauses(outcomes: Sequence[Outcome]) -> Pauses | None:
    """Join the records of pauses, their times as the first agent would have them."""
    first_ps = outcomes[0].start_ps or 0
    parts = [shifted(part.pauses, first_ps - (part.start_ps or 0)) for part in outcomes if part.pauses is not None]
    return combined(parts) if parts else None


def _rows(outcomes: Sequence[Outcome]) -> list[Json]:
    """Join the rows that all agents completed: their times are the same, wrong elements are counted by each."""
    return [_row(rows) for rows in zip(*(part.rows for part in outcomes), strict=False)]


def _row(rows: Sequence[Json]) -> Json:
    joined = {**rows[0], "wrong": _wrong(rows)}
    in_place = [row["in_place"] for row in rows]
    if all(in_place):
        return {**joined, "in_place": {**in_place[0], "wrong": _wrong(in_place)}}
    return {**joined, "in_place": None}


def _wrong(measured: Sequence[Json]) -> int | None:
    """Add up wrong elements; None where nobody could compare."""
    checked = [each["wrong"] for each in measured if each["wrong"] is not None]
    return sum(checked) if checked else None


def _flows(outcomes: Sequence[Outcome]) -> list[Json]:
    """Join the two ends of flows between agents: the sender's knows when it began, the receiver's when it was complete."""
    flows: dict[tuple[int, bool, int, str, str], Json] = {}
    for flow in sorted((flow for part in outcomes for flow in part.flows), key=lambda flow: flow["start_ps"]):
        key = (flow["size_bytes"], flow["in_place"], flow["iteration"], flow["src"], flow["dst"])
        known = flows.get(key)
        if known is None:
            flows[key] = dict(flow)
            continue
        start = min(known["start_ps"], flow["start_ps"])
        ends = [end for end in (known["completion_ps"], flow["completion_ps"]) if end is not None]
        flows[key] = {**known, "start_ps": start, "completion_ps": max(ends, default=None)}
    return over_iterations(sorted(flows.values(), key=lambda flow: (flow["workload_ps"], flow["start_ps"])))


def _report(plan: Plan, parts: Mapping[str, Outcome]) -> Report:
    reports = {agent: part.report for agent, part in parts.items()}
    every = list(reports.values())
    crossed = {port: counts for report in every for port, counts in _agents(report)["crossed"].items()}
    lost = _lost(plan, crossed)
    conservation = _packets([report["conservation"] for report in every])
    missing = conservation["sent"] - conservation["delivered"] - conservation["dropped"] - conservation["in_flight"]
    # Of what was lost between machines some were PAUSE frames, which are not among the packets.
    conservation["dropped"] += max(0, min(missing, sum(lost.values())))
    return {
        **every[0],
        "events": sum(report["events"] for report in every),
        "frame_hops": sum(report["frame_hops"] for report in every),
        "complete": all(report["complete"] for report in every),
        "stalled": any(report["stalled"] for report in every),
        "ports": {port: counters for report in every for port, counters in report["ports"].items()},
        "pools": {switch: marks for report in every for switch, marks in report["pools"].items()},
        "watchdog": [storm for report in every for storm in report["watchdog"]],
        "qps": _qps(every),
        "conservation": conservation,
        "kernel_frames": _packets([report["kernel_frames"] for report in every]),
        "drops": _drops([report["drops"] for report in every]),
        "deadlocks": [_shifted(entry, part, parts) for part in parts.values() for entry in part.report["deadlocks"]],
        "violations": [f"agent {agent}: {text}" for agent, report in reports.items() for text in report["violations"]],
        "fidelity": _fidelity(reports, lost),
    }


def _agents(report: Report) -> Agents:
    """Return what a report says of the other agents, as each report of several agents does."""
    agents = report["agents"]
    assert agents is not None
    return agents


def _packets(tallies: Sequence[Packets]) -> Packets:
    return {
        "sent": sum(tally["sent"] for tally in tallies),
        "delivered": sum(tally["delivered"] for tally in tallies),
        "dropped": sum(tally["dropped"] for tally in tallies),
        "in_flight": sum(tally["in_flight"] for tally in tallies),
    }


def _drops(counts: Sequence[Drops]) -> Drops:
    return {
        "lossless": sum(each["lossless"] for each in counts),
        "lossy": sum(each["lossy"] for each in counts),
        "link": sum(each["link"] for each in counts),
        "outage": sum(each["outage"] for each in counts),
        "malformed": sum(each["malformed"] for each in counts),
    }


def _shifted(entry: FoundDeadlock, part: Outcome, parts: Mapping[str, Outcome]) -> FoundDeadlock:
    """Return a deadlock with its times as the first agent would have them."""
    first = next(iter(parts.values()))
    shift_ns = ((first.start_ps or 0) - (part.start_ps or 0)) // 1000
    cured = entry["cured_ns"]
    return {**entry, "at_ns": entry["at_ns"] + shift_ns, "cured_ns": None if cured is None else cured + shift_ns}


def _qps(reports: Sequence[Report]) -> list[Connection]:
    """Return the rows of all requesters, sorted. Of what coding recovered only the receiver's agent knows."""
    return sorted((row for report in reports for row in report["qps"]), key=lambda row: (row["qpn"], row["a"]))


def _lost(plan: Plan, crossed: Mapping[str, Crossed]) -> dict[str, int]:
    """Return how many frames were lost between two machines, by the port that sent them."""
    lost = {}
    for link in plan["links"]:
        if link["medium"] != "vxlan":
            continue
        ends = [name_of(plan, end) for end in (link["a"], link["b"])]
        for sender, receiver in (ends, ends[::-1]):
            count = crossed[sender]["out"] - crossed[receiver]["back"]
            if count > 0:
                lost[sender] = count
    return lost


def _fidelity(reports: Mapping[str, Report], lost: Mapping[str, int]) -> Fidelity:
    """Return figures as bad as at the worst agent, and what tells the agents apart."""
    by_agent = {agent: own for agent, report in reports.items() if (own := report["fidelity"]) is not None}
    figures = list(by_agent.values())
    altered = {node: reason for each in figures for node, reason in each.get("altered", {}).items()}
    names = ("lateness_ns", "held_share", "cpu_share", "socket_drops", "overflow")
    clocks: list[dict[str, str | int | None]] = [
        {
            "agent": agent,
            "other": other["agent"],
            "offset_ns": other["offset_ns"],
            "round_trip_ns": other["round_trip_ns"],
        }
        for agent, report in reports.items()
        for other in _agents(report)["others"]
    ]
    whole: Fidelity = {
        "lateness_ns": {
            "p50": max(each["lateness_ns"]["p50"] for each in figures),
            "p99": max(each["lateness_ns"]["p99"] for each in figures),
            "max": max(each["lateness_ns"]["max"] for each in figures),
        },
        "held_share": max(each["held_share"] for each in figures),
        "cpu_share": max(each["cpu_share"] for each in figures),
        "socket_drops": sum(each["socket_drops"] for each in figures),
        "overflow": sum(each["overflow"] for each in figures),
        "late_frames": sum(each.get("late_frames", 0) for each in figures),
        "turned_away": _joined(each.get("turned_away", {}) for each in figures),
        "refused": _joined(each.get("refused", {}) for each in figures),
        "lost_in_kernel": _joined(each.get("lost_in_kernel", {}) for each in figures),
        "kernel_drops": _joined(each.get("kernel_drops", {}) for each in figures),
        "kernel_gates": _joined(each.get("kernel_gates", {}) for each in figures),
        "delays": [delay for each in figures for delay in each["delays"]],
        "netem_overflow": sum(each.get("netem_overflow", 0) for each in figures),
        "links": _links(figures),
        "apart_ns": max(_agents(report)["apart_ns"] for report in reports.values()),
        "lost_between": dict(lost),
        "clocks": clocks,
        "agents": {agent: {name: dict(each.items())[name] for name in names} for agent, each in by_agent.items()},
    }
    if altered:
        whole["altered"] = altered
    return whole


def _joined(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return counts by port, each of which one agent has."""
    return {port: count for each in counts for port, count in each.items()}


def _links(figures: Sequence[Fidelity]) -> list[LinkListing]:
    """Return who imposes each link, as the agents say that have an end of it; in the plan's order all say the same links."""
    return [
        next((entry for entry in entries if entry.get("reason") != "no interface"), entries[0])
        for entries in zip(*(each.get("links", []) for each in figures), strict=True)
    ]
