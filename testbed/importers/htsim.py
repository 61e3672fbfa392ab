"""Fat trees of htsim (`.topo`): two or three tiers of switches, described tier by tier.

A header of `Nodes`, `Tiers` and `Podsize`, then a section `Tier 0` (leaves), `Tier 1` and `Tier 2` each, one key and one
integer a line. What is wired follows from them (fat_tree_topology.cpp of uet-htsim): hosts stand consecutively under the
leaves of a pod, each leaf leads to each aggregation switch of its pod, and the aggregation switches at one place of their
pods lead to the same cores; `Bundle` is the number of parallel cables to each switch of the tier below.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from testbed.importers.draft import Draft, Imported
from testbed.importers.text import MAX_NODES, Line, Text, shown
from testbed.units import PS_PER_NS, format_rate, format_time

_HEADER = ("nodes", "tiers", "podsize")
_REQUIRED = ("downlink_speed_gbps", "radix_down", "downlink_latency_ns")
_OPTIONAL = ("radix_up", "oversubscribed", "bundle", "switch_latency_ns", "queue_down", "queue_up")
_MOST_GBPS = 10**6
_MOST_NS = 10**12


@dataclass
class _Tier:
    """One section: its line, its figures, and the line of each."""

    number: int
    line: int
    figures: dict[str, int]
    lines: dict[str, int]

    def __getitem__(self, key: str) -> int:
        return self.figures[key]

    @property
    def link(self) -> dict[str, Any]:
        """What links down from this tier are like."""
        rate = format_rate(self["downlink_speed_gbps"] * 10**9)
        return {"rate": rate, "delay": format_time(self["downlink_latency_ns"] * PS_PER_NS)}


def read_htsim(text: Text) -> Imported:
    """Return the lab of a `.topo` file; raise TopologyError where its figures do not make a tree."""
    header, tiers = _sections(text)
    nodes, pod_hosts = header["nodes"], header["podsize"]
    draft = Draft(text.file, PurePath(text.file).stem)
    leaf, middle = tiers[0], tiers[1]
    pods = _divided(text, leaf, nodes, pod_hosts, "Nodes", "Podsize", "podsize")
    leaves = _divided(text, leaf, pod_hosts, leaf["radix_down"], "Podsize", "Radix_Down", "radix_down")
    if len(tiers) == 2 and pods != 1:
        text.fail(leaf.line, f"two tiers are one pod; Podsize {pod_hosts} makes {pods} of {nodes} nodes")
    _check_uplinks(text, leaf, middle)
    aggs = _divided(text, leaf, leaf["radix_up"], middle["bundle"], "Radix_Up", "Bundle of tier 1", "radix_up")
    _expect(text, middle, "radix_down", leaves * middle["bundle"], "leaves of a pod times Bundle")
    cores = _cores(text, tiers, pods, aggs) if len(tiers) > 2 else 0
    if nodes + pods * (leaves + aggs) + cores > MAX_NODES:
        text.fail(leaf.line, f"more than {MAX_NODES} nodes")
    for host in range(nodes):
        draft.node(f"h{host}", "host", header["line"])
    for tier, count, name in ((leaf, pods * leaves, "tor"), (middle, pods * aggs, "agg")):
        for index in range(count):
            draft.node(f"{name}{index}", "switch", tier.line)
    for index in range(cores):
        draft.node(f"core{index}", "switch", tiers[2].line)
    _wire(draft, tiers, nodes, pods, leaves, aggs, cores)
    for tier in tiers:
        for key in ("switch_latency_ns", "queue_down", "queue_up"):
            if tier.figures.get(key):
                draft.leave(f"{key.title()} {tier[key]} of tier {tier.number}", tier.lines[key])
    return draft.imported()


def _sections(text: Text) -> tuple[dict[str, int], list[_Tier]]:
    header: dict[str, int] = {}
    tiers: list[_Tier] = []
    line = Line(0, ())
    for line in text.lines():
        if len(line.words) != 2:
            text.fail(line.number, "a line is a key and a number")
        key, value = line.words[0].lower(), text.whole(line.number, line.words[1], line.words[0], 0, _MOST_NS)
        if key == "tier":
            if value != len(tiers) or value >= header.get("tiers", 0):
                text.fail(line.number, f"Tier {value}: tiers come in order, Tier {len(tiers)} is next, after Tiers")
            tiers.append(_Tier(value, line.number, {}, {}))
            continue
        known = (*_REQUIRED, *_OPTIONAL) if tiers else _HEADER
        if key not in known:
            text.fail(line.number, f'"{shown(line.words[0])}" is not a key of {"a tier" if tiers else "the header"}')
        figures = tiers[-1].figures if tiers else header
        if key in figures:
            text.fail(line.number, f"{line.words[0]} is given twice")
        figures[key] = value
        if tiers:
            tiers[-1].lines[key] = line.number
        header.setdefault("line", line.number)
    _check(text, header, tiers, line.number)
    return header, tiers


def _check(text: Text, header: dict[str, int], tiers: list[_Tier], last: int) -> None:
    """Raise TopologyError for what is missing or out of bounds; fill in what is not given."""
    for key in _HEADER:
        if not header.get(key):
            text.fail(header.get("line", 0), f"{key.title()} is missing, or 0")
    if header["tiers"] not in (2, 3):
        text.fail(header["line"], f"{header['tiers']} tiers; a fat tree has 2 or 3")
    if header["nodes"] > MAX_NODES:
        text.fail(header["line"], f"more than {MAX_NODES} nodes")
    if len(tiers) != header["tiers"]:
        text.fail(last, f"Tiers says {header['tiers']}, and there are {len(tiers)}")
    for tier in tiers:
        is_top = tier.number == len(tiers) - 1
        for key in (*_REQUIRED, *(() if is_top else ("radix_up",))):
            if key not in tier.figures:
                text.fail(tier.line, f"{key.title()} is missing in tier {tier.number}")
        if is_top and "radix_up" in tier.figures:
            text.fail(tier.lines["radix_up"], "the top tier has no Radix_Up")
        tier.figures.setdefault("oversubscribed", 1)
        tier.figures.setdefault("bundle", 1)
        for key in ("downlink_speed_gbps", "radix_down", "radix_up", "oversubscribed", "bundle"):
            most = _MOST_GBPS if key.startswith("downlink") else MAX_NODES
            if not 0 < tier.figures.get(key, 1) <= most:
                text.fail(tier.lines[key], f"{key.title()} {tier[key]} is not from 1 to {most}")
        if not tier.number and tier["bundle"] != 1:
            text.fail(tier.lines["bundle"], "hosts have one cable; Bundle of tier 0 is 1")


def _divided(text: Text, tier: _Tier, whole: int, part: int, what: str, by: str, key: str) -> int:
    if whole % part:
        text.fail(tier.lines.get(key, tier.line), f"{what} {whole} is not a multiple of {by} {part}")
    return whole // part


def _expect(text: Text, tier: _Tier, key: str, follows: int, why: str) -> None:
    if tier[key] != follows:
        text.fail(tier.lines[key], f"{key.title()} of tier {tier.number} is {tier[key]}, and {why} {follows}")


def _check_uplinks(text: Text, below: _Tier, above: _Tier) -> None:
    """Raise TopologyError unless links up have the capacity of links down, divided by the oversubscription."""
    down = below["radix_down"] * below["downlink_speed_gbps"]
    up = below["radix_up"] * above["downlink_speed_gbps"] * below["oversubscribed"]
    if down != up:
        message = f"{down} Gb/s lead down from a switch of tier {below.number}, and times Oversubscribed {up} Gb/s up"
        text.fail(below.lines["radix_up"], message)


def _cores(text: Text, tiers: list[_Tier], pods: int, aggs: int) -> int:
    """Return the number of core switches."""
    middle, top = tiers[1], tiers[2]
    _check_uplinks(text, middle, top)
    _expect(text, top, "radix_down", pods * top["bundle"], "pods times Bundle are")
    uplinks = pods * aggs * middle["radix_up"]
    cores = _divided(text, top, uplinks, top["radix_down"], "the links up of tier 1,", "Radix_Down", "radix_down")
    if cores % aggs or middle["radix_up"] != top["bundle"] * (cores // aggs):
        text.fail(middle.lines["radix_up"], f"{cores} cores do not divide among {aggs} aggregation switches of a pod")
    return cores


def _wire(draft: Draft, tiers: list[_Tier], nodes: int, pods: int, leaves: int, aggs: int, cores: int) -> None:
    leaf, middle = tiers[0], tiers[1]
    for host in range(nodes):
        draft.link(f"h{host}", f"tor{host // leaf['radix_down']}", leaf.line, **leaf.link)
    for tor in range(pods * leaves):
        for agg in range(aggs):
            _bundle(draft, f"tor{tor}", f"agg{tor // leaves * aggs + agg}", middle)
    for agg in range(pods * aggs if cores else 0):
        for core in range(agg % aggs, cores, aggs):
            _bundle(draft, f"agg{agg}", f"core{core}", tiers[2])


def _bundle(draft: Draft, below: str, above: str, tier: _Tier) -> None:
    for _ in range(tier["bundle"]):
        draft.link(below, above, tier.line, **tier.link)
