"""A lab as a picture in SVG: alone in a file, or as the part of a page that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from testbed.data import DATA
from testbed.drawing.blocks import HEIGHT
from testbed.drawing.layout import ARC_SHARE, Box, Layout, is_host_link, lay_out, link_text, node_text
from testbed.drawing.text import Notes
from testbed.lab.hosts import Host
from testbed.lab.topology import Lab, Link

# Colours of kinds of link, the most frequent first; all can be told apart on light and on dark.
_COLOURS = ("#5b7a99", "#c2570c", "#2a9d5c", "#a53fb5", "#c9344c", "#1797a8", "#8a7500", "#6457d6")
# More labels than this between switches cover each other; then what a link is shows when it is pointed at.
_MOST_LABELS = 24
_LABEL_CHARACTER = 6.2
_MARGIN = 24
# How far a frame is from what it holds: at the sides, above, and below, where its name stands.
_FRAMES = {"site": (22, HEIGHT / 2, HEIGHT / 2 + 14), "domain": (19, 10, 22)}
_LEGEND_LINE = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of link: what is said of it, its colour, and how many links are of it."""

    text: str
    colour: str
    count: int


class Frame(NamedTuple):
    """What surrounds the nodes of a site or of a domain: which of the two, its name, and where it is."""

    kind: str
    name: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Picture:
    """The elements of a picture, its size, and its kinds of link, the most frequent first."""

    elements: str
    width: float
    height: float
    kinds: tuple[Kind, ...]


def style() -> str:
    """Return the style sheet of the elements."""
    return (DATA / "graph.css").read_text(encoding="utf-8").rstrip()


def picture(lab: Lab, notes: Notes) -> Picture:
    """Return the picture of a lab. All that is a name or a text is escaped."""
    layout = lay_out(lab)
    kinds = Counter(link_text(link) for link in lab.links)
    colours = {text: _COLOURS[min(index, len(_COLOURS) - 1)] for index, (text, _) in enumerate(kinds.most_common())}
    between = [index for index, link in enumerate(lab.links) if not is_host_link(lab, link)]
    labelled = set(between) if len(between) <= _MOST_LABELS else set()
    labelled |= {i for i in between if _is_span(layout, lab.links[i])} | set(notes)
    around = frames(lab, layout)
    parts = ["".join(_draw_frame(frame) for frame in around if frame.kind == kind) for kind in _FRAMES]
    parts += [_link(layout, index, link, colours, notes) for index, link in enumerate(lab.links)]
    parts += [_node(lab, layout, name) for name in layout.boxes]
    parts += [_label(layout, index, lab.links[index], notes) for index in sorted(labelled)]
    rows = tuple(Kind(text, colours[text], count) for text, count in kinds.most_common())
    return Picture("\n".join(parts), layout.width, layout.height, rows)


def svg(lab: Lab, notes: Notes) -> str:
    """Return the picture of a lab as a file of its own, with a legend below. Nothing in it is fetched from anywhere."""
    drawn = picture(lab, notes)
    top = drawn.height + _MARGIN
    legend = [
        f'<path d="M0 {top + place * _LEGEND_LINE:g}h18" stroke="{kind.colour}" stroke-width="3"/>'
        f'<text class="legend" x="26" y="{top + place * _LEGEND_LINE + 4:g}">{escape(kind.text)} × {kind.count}</text>'
        for place, kind in enumerate(drawn.kinds)
    ]
    texts = [26 + _LABEL_CHARACTER * len(f"{kind.text} × {kind.count}") for kind in drawn.kinds]
    width = max(drawn.width, *texts, 0) + 2 * _MARGIN
    height = top + len(drawn.kinds) * _LEGEND_LINE + _MARGIN
    corner = f'x="{-_MARGIN}" y="{-_MARGIN}" width="{width:g}" height="{height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-_MARGIN} {-_MARGIN} {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(lab.name)}">',
        f"<style>\n{style()}\n</style>",
        f'<rect class="paper" {corner}/>',
        drawn.elements,
        *legend,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _is_span(layout: Layout, link: Link) -> bool:
    return layout.boxes[link.a.node].site != layout.boxes[link.b.node].site


def frames(lab: Lab, layout: Layout) -> list[Frame]:
    """Return a frame around each site, where there are several, and around each scale-up domain."""
    parts = ([box for box in layout.boxes.values() if box.site == site] for site in range(layout.sites))
    around = [_frame("site", f"site {site}", boxes) for site, boxes in enumerate(parts, 1)] if layout.sites > 1 else []
    members: dict[str, list[str]] = {}
    for node in lab.nodes:
        if node.domain is not None:
            members.setdefault(node.domain, []).append(node.name)
    domains = members.items()
    return around + [
        _frame("domain", f"domain {name}", [layout.boxes[node] for node in nodes]) for name, nodes in domains
    ]


def _frame(kind: str, name: str, boxes: Sequence[Box]) -> Frame:
    aside, over, under = _FRAMES[kind]
    left, right = min(b.x - b.width / 2 for b in boxes) - aside, max(b.x + b.width / 2 for b in boxes) + aside
    top, bottom = min(b.y for b in boxes) - HEIGHT / 2 - over, max(b.y for b in boxes) + HEIGHT / 2 + under
    return Frame(kind, name, left, top, right - left, bottom - top)


def _draw_frame(frame: Frame) -> str:
    kind, name, left, top, width, height = frame
    return (
        f'<rect class="{kind}" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="10"/>'
        f'<text class="{kind}" x="{left + 10:g}" y="{top + height - 7:g}">{escape(name)}</text>'
    )


def _node(lab: Lab, layout: Layout, name: str) -> str:
    box = layout.boxes[name]
    kind = "host" if any(isinstance(node, Host) and node.name == name for node in lab.nodes) else "switch"
    text = escape(name)
    left, top = box.x - box.width / 2, box.y - HEIGHT / 2
    return (
        f'<g class="node {kind}" data-node="{text}" tabindex="0"><title>{text}: {escape(node_text(lab, name))}</title>'
        f'<rect x="{left:g}" y="{top:g}" width="{box.width:g}" height="{HEIGHT}" rx="{10 if kind == "host" else 3}"/>'
        f'<text x="{box.x:g}" y="{box.y + 4:g}">{text}</text></g>'
    )


def _link(layout: Layout, index: int, link: Link, colours: dict[str, str], notes: Notes) -> str:
    kind = link_text(link)
    rail = next((layout.rails[end] for end in (link.a, link.b) if end in layout.rails), None)
    colour = colours[kind] if rail is None else _COLOURS[rail % len(_COLOURS)]
    title = f"{link.a} - {link.b}: {kind}" + (f"; {notes[index]}" if index in notes else "")
    path = link_path(layout, index, link)
    dashed = " dashed" if index in notes or not link.carrier else ""
    return (
        f'<g class="link{dashed}" data-a="{escape(link.a.node)}" data-b="{escape(link.b.node)}" data-kind="{escape(kind)}">'
        f'<title>{escape(title)}</title><path class="touch" d="{path}"/>'
        f'<path d="{path}" stroke="{colour}"/></g>'
    )


def link_path(layout: Layout, index: int, link: Link) -> str:
    """Return the way of a link: down beside a host, straight between layers, in an arc where nodes stand side by side."""
    if layout.round:
        a, b = layout.boxes[link.a.node], layout.boxes[link.b.node]
        return f"M{a.x:g} {a.y:g}L{b.x:g} {b.y:g}"
    ends = sorted((link.a, link.b), key=lambda end: (layout.boxes[end.node].layer, layout.boxes[end.node].x))
    lower, upper = (layout.boxes[end.node] for end in ends)
    below, above = (layout.end(end) for end in ends)
    if lower.layer == upper.layer:
        rise = layout.rises[index]
        y = min(lower.y, upper.y) - HEIGHT / 2
        return f"M{below:g} {y:g}C{below:g} {y - rise:g} {above:g} {y - rise:g} {above:g} {y:g}"
    head, foot = lower.y - HEIGHT / 2, upper.y + HEIGHT / 2
    # Hosts stand in blocks, and a straight way would lead through those above or below: it goes down beside them.
    if lower.layer == 0 and lower.y > layout.ground:
        edge = lower.x - lower.width / 2
        gutter = edge - 5 - 1.5 * (layout.rails.get(ends[0], 2) % len(_COLOURS))
        return f"M{above:g} {foot:g}L{gutter:g} {layout.ground - HEIGHT / 2 - 14:g}V{lower.y:g}H{edge:g}"
    if upper.layer == 0 and upper.y < layout.floor:
        edge = upper.x + upper.width / 2
        return f"M{below:g} {head:g}L{edge + 5:g} {layout.floor + HEIGHT / 2 + 14:g}V{upper.y:g}H{edge:g}"
    return f"M{below:g} {head:g}L{above:g} {foot:g}"


def _label(layout: Layout, index: int, link: Link, notes: Notes) -> str:
    """Write what a link is beside it: on a line between layers nearer to one end or the other, so that few collide."""
    lower, upper = sorted((layout.boxes[end.node] for end in (link.a, link.b)), key=lambda box: (box.layer, box.x))
    text = ", ".join([link_text(link), *([notes[index]] if index in notes else [])])
    if index in layout.rises:
        x, y = (lower.x + upper.x) / 2, min(lower.y, upper.y) - HEIGHT / 2 - ARC_SHARE * layout.rises[index]
    else:
        share = (0.35, 0.5, 0.65)[index % 3]
        x, y = lower.x + (upper.x - lower.x) * share, lower.y + (upper.y - lower.y) * share
    width = len(text) * _LABEL_CHARACTER + 8
    return (
        f'<g class="label"><rect x="{x - width / 2:g}" y="{y - 9:g}" width="{width:g}" height="17" rx="4"/>'
        f'<text x="{x:g}" y="{y + 4:g}">{escape(text)}</text></g>'
    )
