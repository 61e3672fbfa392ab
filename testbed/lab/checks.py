"""What must hold between the parts of a lab file, beyond what its models can say alone.

They work on the file's plain data, so that they find their faults even where the models found others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.errors import Fault, UnitError, nearest
from testbed.schema.source import KeyPath, Source
from testbed.units import format_rate, parse_rate, parse_size

_ONLY_OPTICS = ("cable", "ber", "osnr-db", "margin-db", "lanes-down", "acceleration")
# What /etc/hosts of every system means by them; RFC 6761 keeps localhost for that.
_LOCAL = ("localhost", "ip6-localhost", "ip6-loopback", "broadcasthost")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ONLY_SWITCH = (
    "buffer",
    "lossless",
    "lossy-queue",
    "thresholds",
    "cell",
    "pool",
    "headroom-pool",
    "profile",
    "routes",
    "weights",
    "dscp",
    "queues",
    "groups",
)
_ONLY_HOST = ("accelerators", "kernel", "ports", "local")


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings, later ones winning, mappings inside them key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            result[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


class _Graph:
    """The ends met so far, link by link."""

    def __init__(self, source: Source, kinds: Mapping[str, Any]) -> None:
        self.source = Source(source.file, lines=source.lines)
        self.kinds = kinds
        self.link_of: dict[tuple[str, str], int] = {}
        self.pairs: dict[frozenset[tuple[str, str]], int] = {}

    def add(self, index: int, ends: list[tuple[str, str]], path: KeyPath) -> None:
        pair = frozenset(ends)
        if ends[0][0] == ends[1][0]:
            self.source.fault(path, f"a link from {ends[0][0]} to itself")
            return
        if pair in self.pairs:
            self.source.fault(path, f"the same link as topology.links[{self.pairs[pair]}]")
            return
        self.pairs[pair] = index
        for node, port in ends:
            self._end(index, node, port, path)

    def _end(self, index: int, node: str, port: str, path: KeyPath) -> None:
        if node not in self.kinds:
            self.source.fault(path, f'no node is called "{node}"{nearest(node, self.kinds)}')
            return
        if (other := self.link_of.get((node, port))) is not None:
            self.source.fault(path, f"port {node}:{port} is used twice, first by topology.links[{other}]")
            return
        self.link_of[node, port] = index


def graph_faults(source: Source, parse_endpoint: Callable[[object], tuple[str, str]]) -> list[Fault]:
    """Return the faults of the links as a graph: ends that dangle, ports used twice, hosts left alone."""
    body = source.data.get("topology") if isinstance(source.data, dict) else None
    nodes = body.get("nodes") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(nodes, dict):
        return []  # the models report it
    kinds = {name: entry.get("kind") if isinstance(entry, dict) else None for name, entry in nodes.items()}
    links = body.get("links")
    graph = _Graph(source, kinds)
    named: set[str] = set()
    for index, link in enumerate(links if isinstance(links, list) else []):
        texts = link.get("endpoints") if isinstance(link, dict) else None
        if not isinstance(texts, list | tuple) or len(texts) != 2:
            continue
        named.update(text.partition(":")[0] for text in texts if isinstance(text, str))
        try:
            ends = [parse_endpoint(text) for text in texts]
        except ValueError:
            continue  # the models report it
        graph.add(index, ends, ("topology", "links", index, "endpoints"))
    for name, kind in kinds.items():
        if kind == "host" and (meaning := _other_meaning(str(name))):
            graph.source.fault(
                ("topology", "nodes", name), f'a host cannot be called "{name}": resolvers take it for {meaning}'
            )
        if kind == "host" and name not in named:
            graph.source.fault(("topology", "nodes", name), "a host without a link")
    return graph.source.faults


def _other_meaning(name: str) -> str | None:
    """Return what a name of a host means to a resolver whatever its hosts file says; None if nothing."""
    if _NUMBER.fullmatch(name):
        return "an IPv4 address written as a number"  # inet_aton(3)
    return "this machine itself" if name in _LOCAL else None


def setting_faults(source: Source) -> list[Fault]:
    """Return the faults of settings that exclude or contradict each other, leaving out values the models reject."""
    faults = Source(source.file, lines=source.lines)
    body = _mapping(_mapping(source.data).get("topology"))
    _both_delays(faults, ("topology", "defaults"), _mapping(body.get("defaults")))
    _thresholds(faults, ("topology", "defaults", "thresholds"), _mapping(body.get("defaults")).get("thresholds"))
    for name, settings in _mapping(body.get("kinds")).items():
        _thresholds(faults, ("topology", "kinds", name, "thresholds"), _mapping(settings).get("thresholds"))
    for name, entry in _mapping(body.get("nodes")).items():
        path: KeyPath = ("topology", "nodes", name)
        kind = _mapping(entry).get("kind")
        for key in _mapping(entry):
            if kind == "switch" and key == "nic":
                faults.fault((*path, key), "a switch has no NIC")
            if kind == "switch" and key in _ONLY_HOST:
                faults.fault((*path, key), "belongs to hosts, not to switches")
            if kind == "host" and key in _ONLY_SWITCH:
                faults.fault((*path, key), "belongs to switches, not to hosts")
        _thresholds(faults, (*path, "thresholds"), _mapping(entry).get("thresholds"))
    links = body.get("links")
    for index, link in enumerate(links if isinstance(links, list) else []):
        path = ("topology", "links", index)
        _both_delays(faults, path, _mapping(link))
        if "profile" not in {**_mapping(body.get("defaults")), **_mapping(link)}:
            for key in _mapping(link):
                if key in _ONLY_OPTICS:
                    faults.fault((*path, key), "belongs to links with a profile")
        _rate_above_nic(faults, path, _mapping(link), body)
    return faults.faults


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(parse: Callable[[object], int], value: object) -> int | None:
    """Return the quantity, or None for one that is not given or that the models report."""
    try:
        return parse(value)
    except UnitError:
        return None


def _both_delays(source: Source, path: KeyPath, settings: Mapping[str, Any]) -> None:
    if settings.get("delay") is not None and settings.get("length") is not None:
        source.fault((*path, "delay"), "give a length or a delay, not both")


def _thresholds(source: Source, path: KeyPath, settings: object) -> None:
    thresholds = _mapping(settings)
    for key in ("priorities", "ports"):
        for name, entry in _mapping(thresholds.get(key)).items():
            _thresholds(source, (*path, key, name), entry)
    xoff, xon = (_read(parse_size, thresholds.get(key)) for key in ("xoff", "xon"))
    if xoff is not None and xon is not None and xon > xoff:
        source.fault((*path, "xon"), f"{xon} bytes is above xoff, {xoff} bytes")
    if thresholds.get("alpha") is None:
        return
    for key, value, instead in (("xoff", xoff, "leave out one of them"), ("xon", xon, "give xon-offset instead")):
        if value is not None:
            source.fault((*path, key), f"{key} is a static threshold and alpha a dynamic one; {instead}")


def profile_above_nic(source: Source, index: int, rate_bps: int) -> None:
    """Note it if the rate that a link has from its profile is above what the NIC at one of its ends says it has."""
    body = _mapping(_mapping(source.data).get("topology"))
    link = body["links"][index]
    if "rate" not in link:
        _above_nic(source, ("topology", "links", index, "profile"), rate_bps, link["endpoints"], body)


def _rate_above_nic(source: Source, path: KeyPath, link: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    rate = _read(parse_rate, link.get("rate"))
    ends = link.get("endpoints")
    if rate is not None and isinstance(ends, list):
        _above_nic(source, (*path, "rate"), rate, ends, body)


def _above_nic(source: Source, path: KeyPath, rate: int, ends: Sequence[object], body: Mapping[str, Any]) -> None:
    kinds, nodes = _mapping(body.get("kinds")), _mapping(body.get("nodes"))
    for end, other in zip(ends, reversed(ends), strict=True):
        name, _, port = str(end).partition(":")
        entry = _mapping(nodes.get(name))
        if entry.get("kind") != "host":
            continue
        layers = (_mapping(body.get("defaults")), _mapping(kinds.get("host")), entry)
        if _is_scale_up(port, layers, _mapping(nodes.get(str(other).partition(":")[0])).get("domain")):
            continue
        nic = _read(parse_rate, merge(*({"nic": _mapping(layer.get("nic"))} for layer in layers))["nic"].get("rate"))
        if nic is not None and rate > nic:
            source.fault(path, f"{format_rate(rate)} is faster than the NIC of {name}, {format_rate(nic)}")


def _is_scale_up(port: str, layers: Sequence[Mapping[str, Any]], far_domain: object) -> bool:
    """Return whether a port of a host, whose settings are in `layers`, leads into its domain, as `hosts.resolve_host` has it."""
    ports = merge(*({"ports": _mapping(layer.get("ports"))} for layer in layers))["ports"]
    out, up = (
        ([named] if isinstance(named, str) else named) or () for named in map(ports.get, ("scale-out", "scale-up"))
    )
    if up or out:
        return port in up if up else port not in out
    return far_domain is not None and layers[-1].get("domain") == far_domain
