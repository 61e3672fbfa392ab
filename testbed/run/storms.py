"""What watchdogs took for storms, explained: by what the node behind the port was doing at the time.

A switch whose full buffer drained by itself needed its pause, however long: over distance, a round trip's bytes have to
leave at whatever rate is there. A switch that nothing left waited for somebody else, or for itself in a circle. A host has
no such excuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from testbed.buffers.deadlock import around
from testbed.contract.plan import Plan, Receive, hosts_of, receivers_of
from testbed.contract.report import FoundDeadlock, FoundStorm, Pause, Report
from testbed.run.observed import is_storm_in
from testbed.units import PS_PER_NS, format_rate

Json = dict[str, Any]


def explain(plan: Plan, report: Report, impairments: Sequence[Json], start_ps: int) -> Iterator[Json]:
    """Yield a row of run.json's `watchdog` for each storm detected from `start_ps` on, times counted from there."""
    storms = [storm for storm in report.get("watchdog", ()) if storm["detected_ps"] >= start_ps]
    for storm in sorted(storms, key=lambda storm: (storm["detected_ps"], storm["port"], storm["priority"])):
        cause, explanation = _cause(plan, report, impairments, start_ps, storms, storm)
        yield {
            "port": storm["port"],
            "priority": storm["priority"],
            "action": storm["action"],
            "paused_since_ns": (storm["paused_since_ps"] - start_ps) / PS_PER_NS,
            "detected_ns": (storm["detected_ps"] - start_ps) / PS_PER_NS,
            "restored_ns": None if storm["restored_ps"] is None else (storm["restored_ps"] - start_ps) / PS_PER_NS,
            "dropped": storm["dropped"],
            "cause": cause,
            "explanation": explanation,
        }


def _cause(
    plan: Plan,
    report: Report,
    impairments: Sequence[Json],
    start_ps: int,
    storms: Sequence[FoundStorm],
    storm: FoundStorm,
) -> tuple[str, str]:
    peer, pause = storm["peer"], storm["peer_pause"]
    lasted = _time(storm["detected_ps"] - storm["paused_since_ps"])
    if peer is None:
        return "unknown", f"paused for {lasted} until detected; nothing is plugged in"
    host = next((host for host in hosts_of(plan) if host["name"] == peer.split(":")[0]), None)
    if host is not None:
        by = _asked_for(impairments, peer, (storm["detected_ps"] - start_ps) / PS_PER_NS)
        receive = dict(receivers_of(host)).get(peer.split(":")[1])
        if not by and receive is not None and receive.get("priority") == storm["priority"]:
            return "slow receiver", _slow_receiver(plan, peer, receive, lasted)
        reason = f"as {by} had it do" if by else "unasked: its NIC is stuck"
        return "storm", f"a storm: {peer}, a host, kept it paused for {lasted} until detected, {reason}"
    circle = next((each for each in report.get("deadlocks", ()) if is_storm_in(each, storm)), None)
    if circle is not None:
        return "deadlock", _deadlock(circle, storm)
    if pause is None:
        return "unknown", f"paused for {lasted} until detected, but {peer} asked for no pause so long: XON may be lost"
    span_ps = (report["now_ps"] if pause["to_ps"] is None else pause["to_ps"]) - pause["from_ps"]
    if pause["drained_bytes"] and not pause["dropped_bytes"]:
        return "long pause", _long_pause(plan, peer, pause, span_ps)
    return "spread", _spread(storms, storm, peer, pause, span_ps)


def _deadlock(deadlock: FoundDeadlock, storm: FoundStorm) -> str:
    start = deadlock["ports"].index(storm["port"])
    return f"a deadlock: each waits for the next, {around([*deadlock['ports'][start:], *deadlock['ports'][:start]])}"


def _asked_for(impairments: Sequence[Json], port: str, at_ns: float) -> str:
    """Return who asked for the storm that a host's port had on at a time; empty if nobody did."""
    by = ""
    for row in impairments:
        if row["link"] == port and "storm" in row["set"] and row["at_ns"] is not None and row["at_ns"] <= at_ns:
            by = row["label"] if row["set"]["storm"] is not None else ""
    return by


def _slow_receiver(plan: Plan, peer: str, receive: Receive, lasted: str) -> str:
    rate_bps, round_trip_ps = _link(plan, peer)
    return (
        f"no storm, but a slow receiver: the NIC behind {peer} takes in {format_rate(receive['drain_bps'])} of the "
        f"{format_rate(rate_bps)} that its line brings, and kept it paused for {lasted} until detected; what a round trip of "
        f"{_time(round_trip_ps)} brings takes {_time(round_trip_ps * rate_bps // receive['drain_bps'])} to take in"
    )


def _long_pause(plan: Plan, peer: str, pause: Pause, span_ps: int) -> str:
    rate_bps, round_trip_ps = _link(plan, peer)
    drain_bps = pause["drained_bytes"] * 8 * 10**12 // max(1, span_ps)
    still = " so far" if pause["to_ps"] is None else ""
    return (
        f"no storm, but a long pause: {peer} had {pause['held_bytes']:,} bytes when it said stop, "
        f"{pause['came_bytes']:,} came after that (a round trip of {_time(round_trip_ps)} at {format_rate(rate_bps)} "
        f"is {round_trip_ps * rate_bps // (8 * 10**12):,}), and it drained {pause['drained_bytes']:,} by itself at "
        f"{drain_bps / 1e9:.3g} Gb/s, in {_time(span_ps)}{still}. A detection time above that would have let it be"
    )


def _spread(impairments: Sequence[FoundStorm], storm: FoundStorm, peer: str, pause: Pause, span_ps: int) -> str:
    node = peer.split(":")[0]
    others = [
        other["port"]
        for other in impairments
        if other["port"].split(":")[0] == node
        and other["priority"] == storm["priority"]
        and other["paused_since_ps"] <= storm["detected_ps"]
        and (other["restored_ps"] is None or other["restored_ps"] >= storm["paused_since_ps"])
    ]
    see = f"; it was kept from sending at {' and '.join(sorted(set(others)))}" if others else ""
    return (
        f"spread from elsewhere: {peer} held {pause['held_bytes']:,} bytes and let "
        f"{pause['drained_bytes']:,} leave in {_time(span_ps)}{see}"
    )


def _link(plan: Plan, port: str) -> tuple[int, int]:
    """Return the rate of a port and the round trip of the link behind it."""
    names = [f"{node['name']}:{own['name']}" for node in plan["nodes"] for own in node["ports"]]
    places = [(index, number) for index, node in enumerate(plan["nodes"]) for number in range(len(node["ports"]))]
    node, number = places[names.index(port)]
    link = next(link for link in plan["links"] if [node, number] in (link["a"], link["b"]))
    return plan["nodes"][node]["ports"][number]["rate_bps"], 2 * link["delay_ps"]


def _time(time_ps: int) -> str:
    """Write a time to the eye's precision."""
    unit, factor = next(
        (entry for entry in (("s", 10**12), ("ms", 10**9), ("us", 10**6)) if time_ps >= entry[1]), ("ns", 10**3)
    )
    return f"{time_ps / factor:.4g} {unit}"
