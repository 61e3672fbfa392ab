"""Topology files of the ns-3 family that began with HPCC, in its three forms.

The first line has three numbers (nodes, switches, links), four in the form of LCMP (nodes, switches, border switches, links),
or six words in that of SimAI (nodes, GPUs of a server, switches inside servers, switches, links, type of GPU), whose GPUs
are hosts, those of a server in one scale-up domain. Then come the numbers of the switches, and the links: `from to rate delay
error-rate`. Nodes that are not switches are hosts. Lines that begin with # are comments, as in LCMP; simulators stop reading
behind the last link, so names and ports of a lab that was exported stand there, in comments that begin with `#:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from testbed.importers.draft import Draft, Imported, counted
from testbed.importers.graph import Graph
from testbed.importers.hpcc_config import Config
from testbed.importers.text import MAX_LINKS, MAX_NODES, Text, shown
from testbed.importers.thresholds import hoisted
from testbed.sizes import LONGEST_MTU_BYTES
from testbed.units import format_rate, format_time, parse_rate, parse_time

_OURS = "#:"
_PORT = re.compile(r"eth([1-9][0-9]{0,3})")


@dataclass
class _Header:
    """What the first line says, and on which line that is. The numbers of the switches come in `groups`."""

    line: int
    nodes: int
    groups: tuple[tuple[str, int], ...]
    links: int
    server_gpus: int = 0


@dataclass
class _Names:
    """What the comments of an exported lab say: its name, those of nodes by number, ports of links by place."""

    lab: str = ""
    nodes: dict[int, str] = field(default_factory=dict)
    ports: dict[int, tuple[int, int]] = field(default_factory=dict)


class _Words:
    """The words of a file one after the other, each with its line."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.line = 0
        self._words = ((line.number, word) for line in text.lines() for word in line.words)

    def next(self, what: str) -> str:
        """Return the next word; raise TopologyError where the file has ended."""
        following = next(self._words, None)
        if following is None:
            self.text.fail(self.line, f"the file ends where {what} should be")
        self.line, word = following
        return word

    def remaining(self) -> Iterator[tuple[int, str]]:
        """Yield what is left, with its line."""
        yield from self._words


def read_hpcc(text: Text, config: Config | None = None) -> Imported:
    """Return the lab of a topology file, with what a configuration file beside it says of buffers and loss."""
    header, words = _header(text)
    names = _names(text)
    draft = Draft(text.file, names.lab or PurePath(text.file).stem.split(".")[0])
    roles = _roles(text, words, header)
    draft.switch = {"buffer": config.buffer if config and config.buffer else "auto"}
    called: dict[int, str] = {}
    for number in range(header.nodes):
        role, line = roles.get(number, ("host", header.line))
        border = {"buffer": config.border_buffer} if config and config.border_buffer and role == "border" else {}
        name = names.nodes.get(number, f"{'s' if role == 'switch' else role[0]}{number}")
        called[number] = draft.node(name, "host" if role == "host" else "switch", line, **border)
    _links(text, words, header, draft, called, names, config)
    if header.server_gpus:
        _domains(draft, called, roles, header.server_gpus)
    if (more := next(words.remaining(), None)) is not None:
        draft.leave("words behind the last link", more[0])
    experiment = config.experiment(called) if config else None
    if config:
        _thresholds(draft, config)
    for what, file, line in config.left if config else ():
        draft.remainder.add(what, file, line)
    took = [f"{counted(len(config.taken), 'setting')} of {config.file}"] if config else []
    if config and (sizes := config.frames):
        took.append("packets of {payload} bytes and {header} of headers, acknowledgements of {ack}".format(**sizes))
    return draft.imported(took, experiment=experiment)


def _header(text: Text) -> tuple[_Header, _Words]:
    first = next(text.lines(), None)
    if first is None:
        text.fail(0, "the file is empty")
    line, header = first.number, first.words
    if len(header) not in (3, 4, 6):
        text.fail(line, f"the first line has 3, 4 or 6 words, not {len(header)}: nodes, switches, links")
    counts = [text.whole(line, word, "the count", 0, MAX_LINKS) for word in header[:5]]
    groups: tuple[tuple[str, int], ...] = (("switch", counts[1]),)
    if len(header) == 4:
        groups = (("switch", counts[1]), ("border", counts[2]))
    if len(header) == 6:
        groups = (("nv-switch", counts[2]), ("switch", counts[3]))
    links = counts[4] if len(header) == 6 else counts[len(header) - 1]
    switches = sum(count for _, count in groups)
    if not 0 < counts[0] <= MAX_NODES:
        text.fail(line, f"{counts[0]} nodes; a lab has 1 to {MAX_NODES}")
    if switches > counts[0]:
        text.fail(line, f"{switches} switches among {counts[0]} nodes; the nodes are hosts and switches together")
    words = _Words(text)
    for _ in header:
        words.next("the first line")
    server_gpus = counts[1] if len(header) == 6 and counts[2] else 0
    return _Header(line, counts[0], groups, links, server_gpus), words


def _roles(text: Text, words: _Words, header: _Header) -> dict[int, tuple[str, int]]:
    """Return what each switch is, by its number, and the line that says so."""
    roles: dict[int, tuple[str, int]] = {}
    for role, count in header.groups:
        for _ in range(count):
            number = _node(text, words, header, "the number of a switch")
            if number in roles:
                text.fail(words.line, f"switch {number} is listed twice")
            roles[number] = role, words.line
    return roles


def _node(text: Text, words: _Words, header: _Header, what: str) -> int:
    word = words.next(what)
    return text.whole(words.line, word, what, 0, header.nodes - 1)


def _links(
    text: Text,
    words: _Words,
    header: _Header,
    draft: Draft,
    called: dict[int, str],
    names: _Names,
    config: Config | None,
) -> None:
    for index in range(header.links):
        a = _node(text, words, header, f"link {index + 1} of {header.links}")
        line = words.line
        b = _node(text, words, header, "the other end of a link")
        rate = text.quantity(line, words.next("the rate of a link"), "rate", parse_rate)
        delay = text.quantity(line, words.next("the delay of a link"), "delay", parse_time)
        error = text.number(line, words.next("the error rate of a link"), "error rate", 0, 1)
        loss = error or (config.loss if config else 0)
        lost = {"loss": loss} if loss else {}
        ports = names.ports.get(index, (0, 0))
        fits = {"mtu": LONGEST_MTU_BYTES} if config and config.needs_long_packets else {}
        draft.link(called[a], called[b], line, ports, rate=format_rate(rate), delay=format_time(delay), **lost, **fits)


def _domains(draft: Draft, called: dict[int, str], roles: dict[int, tuple[str, int]], server_gpus: int) -> None:
    """Put the GPUs of a server, and the switches inside it, into one scale-up domain; GPUs have the lowest numbers."""
    domain: dict[str, str] = {}
    for number, name in called.items():
        if number not in roles:
            domain[name] = f"server{number // server_gpus}"
    inside = {called[number] for number, (role, _) in roles.items() if role == "nv-switch"}
    for link in draft.links:
        a, b = (end.partition(":")[0] for end in link["endpoints"])
        for switch, other in ((a, b), (b, a)):
            if switch in inside and other in domain and other not in inside:
                domain.setdefault(switch, domain[other])
    for name, server in domain.items():
        draft.nodes[name]["domain"] = server


def _thresholds(draft: Draft, config: Config) -> None:
    """Give each switch the thresholds of its ports, or all of them what they have in common."""
    kinds = {name: entry["kind"] for name, entry in draft.nodes.items()}
    ports: dict[str, dict[tuple[str, int], int]] = {name: {} for name, kind in kinds.items() if kind == "switch"}
    nic_bps: int | None = None
    for link in draft.links:
        rate = parse_rate(link["rate"])
        for node, port in (end.split(":") for end in link["endpoints"]):
            if node in ports:
                ports[node][port, 0] = rate
            elif nic_bps is None:
                nic_bps = rate
    by_rate = {
        rate: config.thresholds(rate, nic_bps or rate)
        for rate in sorted({rate for of in ports.values() for rate in of.values()})
    }
    by_switch = {
        name: hoisted({group: by_rate[rate] for group, rate in of.items()}) for name, of in ports.items() if of
    }
    usual = next(iter(by_switch.values()), {})
    if "ports" not in usual and all(each == usual for each in by_switch.values()):
        draft.switch |= {"thresholds": usual} if usual else {}
        return
    for name, each in by_switch.items():
        if each:
            draft.nodes[name]["thresholds"] = each


def _names(text: Text) -> _Names:
    """Read the comments of an exported lab; what is none of them is a comment like any other."""
    names = _Names()
    for line in text.lines(comment=""):
        if line.words[0] != _OURS:
            continue
        match line.words[1:]:
            case ("lab", name):
                names.lab = name
            case ("node", number, name):
                names.nodes[text.whole(line.number, number, "node", 0, MAX_NODES)] = name
            case ("ports", number, a, b):
                ports = _port(text, line.number, a), _port(text, line.number, b)
                names.ports[text.whole(line.number, number, "link", 0, MAX_LINKS)] = ports
            case _:
                text.fail(line.number, f'"{shown(" ".join(line.words))}" is not a comment that an export writes')
    return names


def _port(text: Text, line: int, word: str) -> int:
    match = _PORT.fullmatch(word)
    if match is None:
        text.fail(line, f'"{shown(word)}" is not a port; ports are eth1, eth2, … eth9999')
    return int(match[1])


def write_hpcc(graph: Graph) -> str:
    """Return a topology file in the form of HPCC; nodes have the numbers of their places in the lab.

    What only the testbed reads stands behind the links, where simulators do not look.
    """
    number = {name: place for place, name in enumerate(graph.nodes)}
    switches = [number[name] for name, kind in graph.nodes.items() if kind == "switch"]
    lines = [f"{len(number)} {len(switches)} {len(graph.links)}", " ".join(map(str, switches))]
    for link in graph.links:
        loss = f"{link.loss:.17g}"
        lines.append(f"{number[link.a]} {number[link.b]} {_rate(link.rate_bps)} {format_time(link.delay_ps)} {loss}")
    lines.append(f"{_OURS} lab {graph.name}")
    usual = {name: f"{kind[0]}{number[name]}" for name, kind in graph.nodes.items()}
    lines += [f"{_OURS} node {number[name]} {name}" for name in graph.nodes if name != usual[name]]
    if not graph.ports_follow_links:
        lines += [f"{_OURS} ports {index} {link.port_a} {link.port_b}" for index, link in enumerate(graph.links)]
    return "\n".join(lines) + "\n"


def _rate(rate_bps: int) -> str:
    """Write a rate in a unit that ns-3 knows; there is none above Gbps."""
    for unit, factor in (("Gbps", 10**9), ("Mbps", 10**6)):
        if rate_bps % factor == 0:
            return f"{rate_bps // factor}{unit}"
    return f"{rate_bps}bps"
