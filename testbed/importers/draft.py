"""A lab in the making: what an importer has found, with the lines that it stands on, and what was left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

from testbed import units
from testbed.errors import Fault, TopologyError, UnitError, UsageError, nearest
from testbed.importers.text import MAX_LINKS, MAX_NODES, shown
from testbed.schema.fields import NAME_MAX
from testbed.schema.source import KeyPath, Source

Data = dict[str, Any]
_UNSAFE = re.compile(r"[^a-z0-9]+")
_MOST_SHOWN = 6
LINK_KEYS = ("rate", "length", "delay", "loss", "mtu", "profile", "medium", "flow-control", "credits")
"""Settings of a link that a format can carry along in the words of a lab file."""

_QUANTITIES: Mapping[str, Callable[[object], int]] = {
    "rate": units.parse_rate,
    "length": units.parse_length,
    "delay": units.parse_time,
}


@dataclass
class Left:
    """One thing that was left out: what, where it first stands, and how often it occurs."""

    what: str
    file: str
    line: int
    times: int = 1

    def __str__(self) -> str:
        name = PurePath(self.file).name
        place = f"{name}:{self.line}" if self.line else name
        return f"{self.what} ({place}{f', {self.times} times' if self.times > 1 else ''})"


@dataclass(frozen=True)
class Imported:
    """A lab as data with the lines of the file that it is from, settings of an experiment on it, and what became of the rest."""

    source: Source
    took: tuple[str, ...]
    left: tuple[Left, ...] = ()
    notes: tuple[str, ...] = ()
    experiment: Data = field(default_factory=dict)

    def summary(self, verb: str = "took") -> str:
        """Return the line that an import or export ends with."""
        left = [str(each) for each in self.left]
        more = [f"and {len(left) - _MOST_SHOWN} more"] if len(left) > _MOST_SHOWN else []
        parts = [f"{verb} {', '.join(self.took)}", *self.notes]
        parts.append(f"left out: {', '.join([*left[:_MOST_SHOWN], *more])}" if left else "left out nothing")
        return "; ".join(parts)

    def noted(self) -> Source:
        """Return the lab with the line that an import ends with as its note."""
        return replace(self.source, notes=(f"{self.source.file}: {self.summary()}",))

    def require_all(self) -> None:
        """Raise TopologyError if anything was left out."""
        if self.left:
            raise TopologyError(Fault(each.file, each.line, "", f"left out: {each.what}") for each in self.left)


class Remainder:
    """What is left out of one or several files, the same thing once."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], Left] = {}

    def add(self, what: str, file: str, line: int) -> None:
        """Note something that is left out."""
        known = self._left.setdefault((what, file), Left(what, file, line, 0))
        known.times += 1

    def all(self) -> tuple[Left, ...]:
        """Return all of it by file and line."""
        files = list(dict.fromkeys(left.file for left in self._left.values()))
        return tuple(sorted(self._left.values(), key=lambda left: (files.index(left.file), left.line)))


@dataclass(frozen=True)
class LinkRule:
    """Settings for links whose two nodes match two patterns, in either order."""

    a: str
    b: str
    settings: Mapping[str, str]

    def matches(self, a: str, b: str) -> bool:
        """Tell whether a link between these nodes is meant."""
        return any(fnmatchcase(one, self.a) and fnmatchcase(two, self.b) for one, two in ((a, b), (b, a)))


def link_rules(rate: str | None, length: str | None, patterns: Iterable[str]) -> tuple[LinkRule, ...]:
    """Read what options say of links: a rate and a length for all, and `A:B key=value …` for some; later ones win.

    Raises UsageError for what cannot be read.
    """
    usual = {key: value for key, value in (("rate", rate), ("length", length)) if value is not None}
    rules = [LinkRule("*", "*", usual)] if usual else []
    for text in patterns:
        ends, *words = text.split()
        a, colon, b = ends.partition(":")
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        if not (a and colon and b and words and len(settings) == len(words)):
            raise UsageError(f'--link "{text}": write it like "leaf*:spine* rate=400G length=2km"')
        for key in settings:
            if key not in LINK_KEYS:
                raise UsageError(f'--link "{text}": links have no "{key}"{nearest(key, LINK_KEYS)}')
        rules.append(LinkRule(a, b, settings))
    for rule in rules:
        for key, value in rule.settings.items():
            if key in _QUANTITIES:
                _QUANTITIES[key](value)
    return tuple(rules)


class Draft:
    """A lab under construction. Ports are handed out in the order of the links unless they are named."""

    def __init__(self, file: str, name: str, rules: Sequence[LinkRule] = ()) -> None:
        self.file = file
        self.name = safe_name(name) or "lab"
        self.rules = rules
        self.remainder = Remainder()
        self.nodes: dict[str, Data] = {}
        self.links: list[Data] = []
        self.switch: Data = {"buffer": "auto"}
        self.extra: Data = {}
        self.renamed: dict[str, str] = {}
        self._lines: dict[KeyPath, int] = {}
        self._used: dict[str, set[int]] = {}
        self._next: dict[str, int] = {}

    def fail(self, line: int, message: str) -> TopologyError:
        """Return the error for a line of the file."""
        return TopologyError([Fault(self.file, line, "", message)])

    def leave(self, what: str, line: int) -> None:
        """Note something of the file that is left out."""
        self.remainder.add(what, self.file, line)

    def node(self, name: str, kind: str, line: int, **settings: Any) -> str:
        """Add a node under a name that is safe, and return that name. Raises TopologyError if another has it."""
        known = safe_name(name)
        if not known:
            raise self.fail(line, f'"{shown(name)}" has no letter or digit that a name could have')
        if known in self.nodes:
            raise self.fail(line, f'two nodes would be called "{known}"; the second is "{shown(name)}"')
        if len(self.nodes) >= MAX_NODES:
            raise self.fail(line, f"more than {MAX_NODES} nodes")
        if known != name:
            self.renamed[name] = known
        self.nodes[known] = {"kind": kind, **settings}
        self._lines["topology", "nodes", known] = line
        return known

    def link(self, a: str, b: str, line: int, ports: tuple[int, int] = (0, 0), **settings: Any) -> None:
        """Add a link between two nodes; a port of 0 is the next one that is free. Settings are those of a lab file."""
        if len(self.links) >= MAX_LINKS:
            raise self.fail(line, f"more than {MAX_LINKS} links")
        said: Data = {}
        for rule in self.rules:
            if rule.matches(a, b):
                said = _over(said, rule.settings)
        said = _over(said, settings)
        for key, parse in _QUANTITIES.items():
            try:
                if key in said:
                    parse(said[key])
            except UnitError as error:
                raise self.fail(line, f"{key}: {error}") from None
        ends = [f"{node}:eth{self._port(node, port)}" for node, port in zip((a, b), ports, strict=True)]
        self._lines["topology", "links", len(self.links)] = line
        self.links.append({"endpoints": ends, **said})

    def _port(self, node: str, port: int) -> int:
        used = self._used.setdefault(node, set())
        if not port:
            port = self._next.get(node, 1)
            while port in used:
                port += 1
            self._next[node] = port + 1
        used.add(port)
        return port

    def imported(self, took: Sequence[str] = (), notes: Sequence[str] = (), experiment: Data | None = None) -> Imported:
        """Return the lab as data; settings that most links share become its defaults."""
        self._require_links()
        defaults, links = _shared(self.links)
        self._nics(defaults.get("rate"))
        kinds = {"kinds": {"switch": self.switch}} if self.switch else {}
        body = {**({"defaults": defaults} if defaults else {}), **kinds, "nodes": self.nodes, "links": links}
        source = Source(self.file, {"name": self.name, "topology": body, **self.extra}, {(): 1, **self._lines})
        kinds_of = Counter(entry["kind"] for entry in self.nodes.values())
        counts = [counted(kinds_of["host"], "host"), counted(kinds_of["switch"], "switch", "switches")]
        names = [f"{shown(old)} is called {new}" for old, new in self.renamed.items()]
        more = [f"and {len(names) - 3} more are renamed"] if len(names) > 3 else []
        called = [", ".join([*names[:3], *more])] if names else []
        left = self.remainder.all()
        took = [*counts, counted(len(links), "link"), *took]
        return Imported(source, tuple(took), left, (*called, *notes), experiment or {})

    def _require_links(self) -> None:
        """Raise TopologyError, once, where many hosts have no link."""
        alone = [name for name, entry in self.nodes.items() if entry["kind"] == "host" and name not in self._used]
        if len(alone) > _MOST_SHOWN:
            line = self._lines["topology", "nodes", alone[0]]
            raise self.fail(line, f"{len(alone)} hosts have no link, {alone[0]} the first of them")

    def _nics(self, usual: str | None) -> None:
        """Give hosts NICs as fast as their links, where that is not the usual rate."""
        rates: dict[str, int] = {}
        for link in self.links:
            nodes = [end.partition(":")[0] for end in link["endpoints"]]
            domains = {self.nodes.get(node, {}).get("domain") for node in nodes}
            if len(domains) == 1 and domains != {None}:
                continue  # scale-up ports are as fast as their links, whatever the NIC
            for node in nodes:
                if self.nodes.get(node, {}).get("kind") == "host" and "rate" in link:
                    rates[node] = max(rates.get(node, 0), units.parse_rate(link["rate"]))
        for node, rate in rates.items():
            if usual is None or rate != units.parse_rate(usual):
                self.nodes[node].setdefault("nic", {"rate": units.format_rate(rate)})


def _over(below: Mapping[str, Any], own: Mapping[str, Any]) -> Data:
    """Lay settings of a link over others; a length takes the place of a delay, and the other way round."""
    kept = dict(below)
    if "length" in own or "delay" in own:
        kept = {key: value for key, value in kept.items() if key not in ("length", "delay")}
    return {**kept, **own}


def _shared(links: Sequence[Data]) -> tuple[Data, list[Data]]:
    """Return the settings that links have by default, and the links with what differs from it."""
    defaults: Data = {}
    if any("profile" in link for link in links):
        return {}, list(links)  # a profile decides what else would be a default
    if links and all("rate" in link for link in links):
        defaults["rate"] = Counter(link["rate"] for link in links).most_common(1)[0][0]
    spans = [(key, link[key]) for link in links for key in ("length", "delay") if key in link]
    if spans and len(spans) == len(links):
        key, value = Counter(spans).most_common(1)[0][0]
        defaults[key] = value
    if links and all("mtu" in link for link in links):
        defaults["mtu"] = Counter(link["mtu"] for link in links).most_common(1)[0][0]
    kept = [
        {key: value for key, value in link.items() if key == "endpoints" or defaults.get(key) != value}
        for link in links
    ]
    return defaults, kept


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def safe_name(text: str) -> str:
    """Return a name of a stranger as a lab can have it: lower-case letters, digits and hyphens; empty if nothing is left."""
    return _UNSAFE.sub("-", text.lower()).strip("-")[:NAME_MAX].strip("-")


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts names as people count: Ethernet4 before Ethernet12."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", text)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts)
