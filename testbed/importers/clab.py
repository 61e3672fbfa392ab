"""Topologies of containerlab (`NAME.clab.yml`): nodes and links, as far as a lab has them.

A node takes its kind from itself, its group or the defaults. What a link is like stands in its `vars`, or its `labels` in the
long form, in the words of a lab file: rate, length, delay, loss. Format: containerlab's schemas/clab.schema.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from testbed.errors import Fault, TopologyError, UnitError, UsageError, nearest
from testbed.importers.draft import LINK_KEYS, Draft, Imported, LinkRule, natural
from testbed.importers.graph import Graph
from testbed.importers.text import shown
from testbed.importers.writing import yaml_text
from testbed.schema.source import KeyPath, Source, dotted
from testbed.units import fibre_delay_ps, format_length, format_rate, format_time, parse_size

SUFFIXES = (".clab.yml", ".clab.yaml")
KINDS: Mapping[str, str] = {
    "host": "host",
    "switch": "switch",
    "linux": "host",
    "bridge": "switch",
    "ovs-bridge": "switch",
}
"""Kinds that are known, and what they are in a lab; those of routers and testers are for `--kind-map`."""
ROLES = ("host", "switch", "skip")
_OURS = ("host", "switch")
# What a lab says of a container in the same words; of the second ones all that is said is put together.
_CONTAINER = (
    "image", "cpu", "memory", "binds", "exec", "cmd", "entrypoint", "ports", "cap-add", "startup-config", "healthcheck", "env",
    "sysctls",
)  # fmt: skip
_TOGETHER = ("env", "sysctls")
# Ends of links that are no nodes, and links that lead out of the lab.
_OUTSIDE = ("host", "mgmt-net", "macvlan")
_INSIDE = ("veth", "veth-stitch", None)
_PORT = re.compile(r"eth([1-9][0-9]{0,3})")
_VARIABLE = re.compile(r"\$\{(\w+)(?::?[-=]([^}]*))?\}")


def is_clab(source: Source) -> bool:
    """Tell a containerlab file from a lab file: by its name or a kind of containerlab's own, unless all kinds are a lab's."""
    body = _mapping(_mapping(source.data).get("topology"))
    nodes = _mapping(body.get("nodes"))
    kinds = [_mapping(entry).get("kind") for entry in nodes.values()]
    if nodes and all(kind in _OURS for kind in kinds):
        return False
    named = (*kinds, *_mapping(body.get("kinds")), _mapping(body.get("defaults")).get("kind"))
    return source.file.endswith(SUFFIXES) or any(
        isinstance(kind, str) and kind in KINDS and kind not in _OURS for kind in named
    )


def kind_map(entries: Iterable[str]) -> dict[str, str]:
    """Read `KIND=host,NODE=switch`; raise UsageError for what is not that."""
    kind_map: dict[str, str] = {}
    for entry in (part for text in entries for part in text.split(",") if part):
        kind, equals, role = entry.partition("=")
        if not kind or not equals:
            raise UsageError(f'--kind-map "{shown(entry)}": write it like nokia_srlinux=switch')
        if role not in ROLES:
            raise UsageError(f'--kind-map "{shown(entry)}": a kind becomes {", ".join(ROLES)}{nearest(role, ROLES)}')
        kind_map[kind] = role
    return kind_map


def read_clab(source: Source, roles: Mapping[str, str] | None = None, rules: Sequence[LinkRule] = ()) -> Imported:
    """Return the lab of a containerlab file. `roles` say of kinds, or of nodes, what they become.

    Raises TopologyError with every node whose kind is not known, and with every link that cannot be read.
    """
    if source.faults:
        raise TopologyError(source.faults)
    return _Reader(source, roles or {}, rules).read()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


class _Reader:
    """One file on its way to a lab; faults are collected, so that all are told at once."""

    def __init__(self, source: Source, roles: Mapping[str, str], rules: Sequence[LinkRule]) -> None:
        self.source = source
        self.body = _mapping(_mapping(source.data).get("topology"))
        self.roles = roles
        self.faults: list[Fault] = []
        name = _mapping(source.data).get("name") or PurePath(source.file).name.split(".")[0]
        self.draft = Draft(source.file, str(name), rules)
        self.called: dict[str, str] = {}
        self.skipped: set[str] = set()

    def read(self) -> Imported:
        """Return the lab."""
        nodes = self.body.get("nodes")
        if not isinstance(nodes, dict) or not nodes:
            raise TopologyError([self._fault(("topology", "nodes"), "a containerlab file has nodes here")])
        self._aside()
        for name, entry in nodes.items():
            self._node(name, entry)
        self._check_map(nodes)
        links = self.body.get("links")
        if links is not None and not isinstance(links, list):
            self.faults.append(self._fault(("topology", "links"), "must be a list"))
        ends = [self._ends(index, link) for index, link in enumerate(links if isinstance(links, list) else ())]
        if self.faults:
            raise TopologyError(self.faults)
        ports = self._ports([end for pair in ends if pair for end in pair])
        for index, pair in enumerate(ends):
            if pair:
                self._link(index, pair, ports)
        if self.faults:
            raise TopologyError(self.faults)
        return self.draft.imported(notes=self._notes(ports))

    def _fault(self, path: KeyPath, message: str) -> Fault:
        return Fault(self.source.file, self.source.line(path), dotted(path), message)

    def _leave(self, what: str, path: KeyPath) -> None:
        self.draft.leave(what, self.source.line(path))

    def _aside(self) -> None:
        """Note what is said beside nodes and links."""
        for key in _mapping(self.source.data):
            if key not in ("name", "topology"):
                self._leave(shown(key), (key,))
        for section in ("defaults", "kinds", "groups"):
            mapping = _mapping(self.body.get(section))
            entries = {"": mapping} if section == "defaults" else mapping
            for name, entry in entries.items():
                path: KeyPath = ("topology", section, name) if name else ("topology", section)
                for key in _mapping(entry):
                    if key not in ("kind", "group", *_CONTAINER):
                        self._leave(f"{shown(key)} of nodes", (*path, key))

    def _said(self, entry: Mapping[str, Any], key: str, kind: str | None = None) -> Any:
        """Return what is said of a node: by itself, its group, its kind, or the defaults."""
        return next((value for value in self._layers(entry, key, kind) if value is not None), None)

    def _layers(self, entry: Mapping[str, Any], key: str, kind: str | None) -> list[Any]:
        """Return what each layer says of a node, the innermost first."""
        groups, kinds = (_mapping(self.body.get(section)) for section in ("groups", "kinds"))
        layers = (entry, groups.get(str(entry.get("group"))), kinds.get(str(kind)), self.body.get("defaults"))
        return [_mapping(layer).get(key) for layer in layers]

    def _kind(self, entry: Mapping[str, Any]) -> str | None:
        kind = self._said(entry, "kind")
        return None if kind is None else str(kind)

    def _node(self, name: str, entry: object) -> None:
        path: KeyPath = ("topology", "nodes", name)
        if entry is not None and not isinstance(entry, dict):
            self.faults.append(self._fault(path, "a node is a mapping, or nothing"))
            return
        own = _mapping(entry)
        kind = self._kind(own)
        role = self.roles.get(name) or self.roles.get(str(kind)) or KINDS.get(str(kind))
        if role is None:
            what = f'of kind "{shown(kind)}", which is not known' if kind else "of no kind"
            example = f"--kind-map {shown(kind or name)}=switch"
            self.faults.append(self._fault(path, f"a node {what}; say what it is: {example}"))
            self.skipped.add(name)
            return
        if role == "skip":
            self.skipped.add(name)
            self._leave(f"node {shown(name)}", path)
            return
        settings = {key: value for key, value in own.items() if key != "kind"} if kind in _OURS else {}
        if role == "host" and kind not in _OURS:
            settings = self._container(own, kind)
        elif kind not in _OURS and self._said(own, "image", kind) is not None and "image" not in own:
            self._leave("image of nodes", path)
        for key in own:
            if key not in ("kind", "group", *settings):
                self._leave(f"{shown(key)} of nodes", (*path, key))
        try:
            self.called[name] = self.draft.node(name, role, self.source.line(path), **settings)
        except TopologyError as error:
            self.faults.extend(error.faults)

    def _container(self, entry: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
        """Return what a host is as a container, which a lab says in the same words; but a memory has a unit of its own."""
        container = {key: value for key in _CONTAINER if (value := self._said(entry, key, kind)) is not None}
        for key in _TOGETHER:
            said = [value for value in self._layers(entry, key, kind) if isinstance(value, dict)]
            if len(said) > 1:
                container[key] = {name: value for layer in reversed(said) for name, value in layer.items()}
        try:
            parse_size(container.get("memory", 0))
        except UnitError:
            del container["memory"]
        return container

    def _check_map(self, nodes: Mapping[str, object]) -> None:
        kinds = {self._kind(_mapping(entry)) for entry in nodes.values()}
        for key in self.roles:
            if key not in nodes and key not in kinds:
                known = [str(kind) for kind in kinds if kind]
                raise UsageError(f'--kind-map: no node is called "{shown(key)}" or of that kind{nearest(key, known)}')

    def _ends(self, index: int, link: object) -> tuple[tuple[str, str], tuple[str, str]] | None:
        """Return the two ends of a link, as node and interface; None for one that is left out or faulty."""
        path: KeyPath = ("topology", "links", index)
        mapping = _mapping(link)
        ends = mapping.get("endpoints")
        if mapping.get("type") not in _INSIDE or (ends is None and "endpoint" in mapping):
            self._leave(f"links of type {shown(str(mapping.get('type')))}", path)
            return None
        if not isinstance(ends, list) or len(ends) != 2:
            self.faults.append(self._fault(path, "a link has two endpoints"))
            return None
        pair = [self._end(end, (*path, "endpoints", place)) for place, end in enumerate(ends)]
        if pair[0] is None or pair[1] is None:
            return None
        for node, _ in (pair[0], pair[1]):
            if node in self.skipped:
                self._leave(f"links of node {shown(node)}", path)
                return None
            if node not in self.called:
                if node not in _OUTSIDE:
                    self.faults.append(self._fault(path, f'no node is called "{shown(node)}"'))
                else:
                    self._leave(f"links to {node}", path)
                return None
        return pair[0], pair[1]

    def _end(self, end: object, path: KeyPath) -> tuple[str, str] | None:
        if isinstance(end, dict):
            node, interface = end.get("node"), end.get("interface")
            for key in end:
                if key not in ("node", "interface"):
                    self._leave(f"{shown(key)} of endpoints", path)
        else:
            node, _, interface = self._substituted(str(end), path).partition(":")
        if not isinstance(node, str) or not isinstance(interface, str) or not node or not interface:
            self.faults.append(self._fault(path, f'"{shown(str(end))}" is not an endpoint; write it like leaf1:eth1'))
            return None
        return node, interface

    def _substituted(self, text: str, path: KeyPath) -> str:
        """Return text with the defaults of its variables in their places."""

        def value(match: re.Match[str]) -> str:
            if match[2] is None:
                self.faults.append(self._fault(path, f"the variable {shown(match[1])} has no default"))
            return match[2] or ""

        return _VARIABLE.sub(value, text)

    def _ports(self, ends: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Return the number of the port that each interface becomes: its own, or its place among those of the node."""
        interfaces: dict[str, set[str]] = {}
        for node, interface in ends:
            interfaces.setdefault(node, set()).add(interface)
        ports: dict[tuple[str, str], int] = {}
        for node, names in interfaces.items():
            numbers = {name: int(match[1]) for name in names if (match := _PORT.fullmatch(name))}
            if len(numbers) < len(names):
                numbers = {name: place for place, name in enumerate(sorted(names, key=natural), start=1)}
            ports |= {(node, name): number for name, number in numbers.items()}
        return ports

    def _link(
        self, index: int, pair: tuple[tuple[str, str], tuple[str, str]], ports: Mapping[tuple[str, str], int]
    ) -> None:
        path: KeyPath = ("topology", "links", index)
        mapping = _mapping(self.body["links"][index])
        settings: dict[str, Any] = {}
        for section in ("labels", "vars"):
            for key, value in _mapping(mapping.get(section)).items():
                if key in LINK_KEYS and not isinstance(value, str | int | float):
                    self.faults.append(self._fault((*path, section, key), "must be a number or a quantity"))
                elif key in LINK_KEYS:
                    settings[key] = value
                else:
                    self._leave(f"{section} of links: {shown(key)}", (*path, section, key))
        if "mtu" in mapping:
            settings["mtu"] = mapping["mtu"]
        for key in mapping:
            if key not in ("endpoints", "type", "vars", "labels", "mtu"):
                self._leave(f"{shown(key)} of links", (*path, key))
        a, b = (self.called[node] for node, _ in pair)
        try:
            self.draft.link(a, b, self.source.line(path), (ports[pair[0]], ports[pair[1]]), **settings)
        except TopologyError as error:
            self.faults.extend(error.faults)

    def _notes(self, ports: Mapping[tuple[str, str], int]) -> list[str]:
        changed = [(end, number) for end, number in ports.items() if end[1] != f"eth{number}"]
        if not changed:
            return []
        (node, interface), number = changed[0]
        return [
            f"{len(changed)} interfaces have new names: {node}:{shown(interface)} is {self.called[node]}:eth{number}"
        ]


def write_clab(graph: Graph) -> str:
    """Return a containerlab file: hosts are of kind linux, switches bridges, and links say what they are like in `vars`."""
    kinds = {"host": "linux", "switch": "bridge"}
    links = []
    for link in graph.links:
        span = {"delay": format_time(link.delay_ps)}
        if link.length_mm is not None and fibre_delay_ps(link.length_mm) == link.delay_ps:
            span = {"length": format_length(link.length_mm)}
        lost = {"loss": link.loss} if link.loss else {}
        said = {"rate": format_rate(link.rate_bps), **span, **lost}
        ends = [f"{link.a}:{link.port_a}", f"{link.b}:{link.port_b}"]
        links.append({"endpoints": ends, "mtu": link.mtu_bytes, "vars": said})
    nodes = {name: {"kind": kinds[kind]} for name, kind in graph.nodes.items()}
    return yaml_text({"name": graph.name, "topology": {"nodes": nodes, "links": links}})
