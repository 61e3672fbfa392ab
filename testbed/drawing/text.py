"""A lab as text that graphviz (`dot`) and mermaid read."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from testbed.drawing.layout import layers, link_text
from testbed.lab.hosts import Host
from testbed.lab.sites import sites
from testbed.lab.topology import Lab, Switch

_PLAIN = frozenset(string.ascii_letters + string.digits + " -_.,/+()")

Notes = Mapping[int, str]
"""What is to be said besides of links, by index."""


def dot(lab: Lab, notes: Notes) -> str:
    """Return a lab as a graph for graphviz: ports at both ends of a link, what it is in the middle, sites as clusters."""
    rank, place = layers(lab), sites(lab)
    lines = [f"graph {_dot_text(lab.name)} {{", "  rankdir=BT", "  node [shape=box]"]
    for site in range(len(set(place.values()))):
        several = len(set(place.values())) > 1
        lines += [f"  subgraph cluster_{site} {{", f'    label="site {site + 1}"'] if several else ["  {"]
        members = [node for node in lab.nodes if place[node.name] == site]
        for domain, nodes in _by_domain(members):
            number = f"{site}_{len(lines)}"
            lines += [f"  subgraph cluster_{number} {{", f"    label={_dot_text(f'domain {domain}')}"] if domain else []
            for node in nodes:
                style = "rounded" if isinstance(node, Host) else "bold"
                lines.append(f"    {_dot_text(node.name)} [style={style}]")
            lines += ["  }"] if domain else []
        for layer in sorted({rank[node.name] for node in members}):
            row = "; ".join(_dot_text(node.name) for node in members if rank[node.name] == layer)
            lines.append(f"    {{ rank=same; {row} }}")
        lines.append("  }")
    for index, link in enumerate(lab.links):
        lower, upper = sorted((link.a, link.b), key=lambda end: rank[end.node])
        text = link_text(link) + (f"\n{notes[index]}" if index in notes else "")
        settings = {"label": text, "taillabel": lower.port, "headlabel": upper.port}
        shown = ", ".join(f"{key}={_dot_text(value)}" for key, value in settings.items())
        style = ", style=dashed" if index in notes or not link.carrier else ""
        lines.append(f"  {_dot_text(lower.node)} -- {_dot_text(upper.node)} [{shown}{style}]")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(lab: Lab, notes: Notes) -> str:
    """Return a lab as a flowchart for mermaid, hosts below."""
    rank, place = layers(lab), sites(lab)
    # Identifiers of our own: mermaid takes some names, such as `end`, for words of its language.
    names = {node.name: f"n{index}" for index, node in enumerate(lab.nodes)}
    several = len(set(place.values())) > 1
    lines = ["flowchart BT"]
    for site in range(len(set(place.values()))):
        lines += [f'  subgraph s{site}["site {site + 1}"]'] if several else []
        for domain, nodes in _by_domain([node for node in lab.nodes if place[node.name] == site]):
            lines += [f"  subgraph d{len(lines)}[{_mermaid_text(f'domain {domain}')}]"] if domain else []
            for node in nodes:
                left, right = ("(", ")") if isinstance(node, Host) else ("[", "]")
                lines.append(f"    {names[node.name]}{left}{_mermaid_text(node.name)}{right}")
            lines += ["  end"] if domain else []
        lines += ["  end"] if several else []
    for index, link in enumerate(lab.links):
        lower, upper = sorted((link.a, link.b), key=lambda end: rank[end.node])
        parts = [link_text(link), *([notes[index]] if index in notes else [])]
        arrow = "-.-" if index in notes or not link.carrier else "---"
        text = _mermaid_text(f"{lower.port} {', '.join(parts)} {upper.port}")
        lines.append(f"  {names[lower.node]} {arrow}|{text}| {names[upper.node]}")
    return "\n".join(lines) + "\n"


def _by_domain(nodes: Sequence[Host | Switch]) -> list[tuple[str | None, list[Host | Switch]]]:
    """Return nodes by the scale-up domain that they are in, those in none first."""
    switches: dict[str | None, list[Host | Switch]] = {None: []}
    for node in nodes:
        switches.setdefault(node.domain, []).append(node)
    return list(switches.items())


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _mermaid_text(text: str) -> str:
    """Quote a text, every sign that could mean something written as an entity, which mermaid decodes last of all.

    Quotes protect from little: directives (`%%{`), styles (`style a:#b;`), icons (`fa:fa-x`), formulas (`$$`), line breaks,
    HTML and Markdown are looked for in them as well. So letters, digits and a few signs stand as they are, and nothing else.
    """
    signs = (sign if sign in _PLAIN else f"#{ord(sign)};" if sign.isprintable() else " " for sign in text)
    # What is empty would be no text at all.
    return f'"{"".join(signs) or " "}"'
