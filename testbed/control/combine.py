"""One outcome out of those of the agents that ran a lab together: pure.

Each tells of its own nodes alone. What is counted is added up, what was measured is as bad as at the worst of them, and times are
brought to the clock of the first agent, on whose nominal time a workload began at `start_ps` as it did on the others' at theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from testbed.contract.plan import Plan
from testbed.lab.endpoints import name_of
from testbed.run.execution import Outcome
from testbed.run.flows import over_iterations

Json = dict[str, Any]

_BY_PORT = ("turned_away", "refused", "lost_in_kernel", "kernel_drops")


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
        complete=complete,
        interrupted=any(part.interrupted for part in outcomes),
        reasons=reasons,
        received_bits={port: bits for part in outcomes for port, bits in part.received_bits.items()},
        start_ps=first.start_ps,
        end_ps=first.end_ps if complete else None,
        impairments=first.impairments,
        storms=[storm for part in outcomes for storm in part.storms],
    )


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
    found: dict[tuple[int, bool, int, str, str], Json] = {}
    for flow in sorted((flow for part in outcomes for flow in part.flows), key=lambda flow: flow["start_ps"]):
        key = (flow["size_bytes"], flow["in_place"], flow["iteration"], flow["src"], flow["dst"])
        known = found.get(key)
        if known is None:
            found[key] = dict(flow)
            continue
        start = min(known["start_ps"], flow["start_ps"])
        ends = [end for end in (known["completion_ps"], flow["completion_ps"]) if end is not None]
        found[key] = {**known, "start_ps": start, "completion_ps": max(ends, default=None)}
    return over_iterations(sorted(found.values(), key=lambda flow: (flow["workload_ps"], flow["start_ps"])))


def _report(plan: Plan, parts: Mapping[str, Outcome]) -> Json:
    reports = {agent: part.report for agent, part in parts.items()}
    found = list(reports.values())
    crossed = {port: counts for report in found for port, counts in report["agents"]["crossed"].items()}
    lost = _lost(plan, crossed)
    conservation = _sum(found, "conservation")
    missing = conservation["sent"] - sum(conservation[key] for key in ("delivered", "dropped", "in_flight"))
    # Of what was lost between machines some were PAUSE frames, which are not among the packets.
    conservation["dropped"] += max(0, min(missing, sum(lost.values())))
    return {
        **found[0],
        "events": sum(report["events"] for report in found),
        "frame_hops": sum(report["frame_hops"] for report in found),
        "complete": all(report["complete"] for report in found),
        "stalled": any(report["stalled"] for report in found),
        "ports": {port: counters for report in found for port, counters in report["ports"].items()},
        "pools": {switch: marks for report in found for switch, marks in report["pools"].items()},
        "watchdog": [storm for report in found for storm in report["watchdog"]],
        "qps": _qps(found),
        "conservation": conservation,
        "kernel_frames": _sum(found, "kernel_frames"),
        "drops": _sum(found, "drops"),
        "deadlocks": [_shifted(entry, part, parts) for part in parts.values() for entry in part.report["deadlocks"]],
        "violations": [f"agent {agent}: {text}" for agent, report in reports.items() for text in report["violations"]],
        "fidelity": _fidelity(reports, lost),
    }


def _sum(reports: Sequence[Json], key: str) -> Json:
    return {name: sum(report[key][name] for report in reports) for name in reports[0][key]}


def _shifted(entry: Json, part: Outcome, parts: Mapping[str, Outcome]) -> Json:
    """Return a deadlock with its times as the first agent would have them."""
    first = next(iter(parts.values()))
    shift_ns = ((first.start_ps or 0) - (part.start_ps or 0)) // 1000
    cured = entry["cured_ns"]
    return {**entry, "at_ns": entry["at_ns"] + shift_ns, "cured_ns": None if cured is None else cured + shift_ns}


def _qps(reports: Sequence[Json]) -> list[Json]:
    """Return the rows of all requesters, sorted. Of what coding recovered only the receiver's agent knows."""
    return sorted((row for report in reports for row in report["qps"]), key=lambda row: (row["qpn"], row["a"]))


def _lost(plan: Plan, crossed: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return how many frames were lost between two machines, by the port that sent them."""
    lost = {}
    for link in plan["links"]:
        if link["medium"] != "vxlan":
            continue
        ends = [name_of(plan, link[end]) for end in ("a", "b")]
        for sender, receiver in (ends, ends[::-1]):
            count = crossed[sender]["out"] - crossed[receiver]["back"]
            if count > 0:
                lost[sender] = count
    return lost


def _fidelity(reports: Mapping[str, Json], lost: Mapping[str, int]) -> Json:
    """Return figures as bad as at the worst agent, and what tells the agents apart."""
    found = {agent: report["fidelity"] for agent, report in reports.items()}
    figures = list(found.values())
    altered = {node: said for each in figures for node, said in each.get("altered", {}).items()}
    own = ("lateness_ns", "held_share", "cpu_share", "socket_drops", "overflow")
    clocks = [
        {"agent": agent, "other": other["agent"], **{key: other[key] for key in ("offset_ns", "round_trip_ns")}}
        for agent, report in reports.items()
        for other in report["agents"]["others"]
    ]
    return {
        "lateness_ns": {key: max(each["lateness_ns"][key] for each in figures) for key in figures[0]["lateness_ns"]},
        **{key: max(each[key] for each in figures) for key in ("held_share", "cpu_share")},
        **{key: sum(each.get(key, 0) for each in figures) for key in ("socket_drops", "overflow", "late_frames")},
        **{key: _joined(each.get(key, {}) for each in figures) for key in _BY_PORT},
        "delays": [delay for each in figures for delay in each["delays"]],
        "netem_overflow": sum(each.get("netem_overflow", 0) for each in figures),
        "links": _links(figures),
        "apart_ns": max(report["agents"]["apart_ns"] for report in reports.values()),
        "lost_between": dict(lost),
        "clocks": clocks,
        "agents": {agent: {key: each[key] for key in own} for agent, each in found.items()},
        **({"altered": altered} if altered else {}),
    }


def _joined(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return counts by port, each of which one agent has."""
    return {port: count for each in counts for port, count in each.items()}


def _links(figures: Sequence[Json]) -> list[Json]:
    """Return who imposes each link, as the agents say that have an end of it; in the plan's order all say the same links."""
    return [
        next((entry for entry in entries if entry.get("reason") != "no interface"), entries[0])
        for entries in zip(*(each.get("links", []) for each in figures), strict=True)
    ]
