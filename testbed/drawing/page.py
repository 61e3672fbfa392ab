"""A lab as one HTML page that holds all it needs: a picture to move and enlarge, and what each node and link is."""

from __future__ import annotations

import re
from html import escape

from testbed.data import DATA
from testbed.drawing.picture import Picture, picture, style
from testbed.drawing.text import Notes
from testbed.lab.topology import Lab

_LEAST_WIDTH = 900
_PLACE = re.compile(r"<!--(\w+)-->|\[\[(\w+)\]\]|/\*(\w+)\*/")


def page(lab: Lab, notes: Notes) -> str:
    """Return the page of a lab. Nothing in it is fetched from anywhere, and all that is a name or a text is escaped."""
    drawn = picture(lab, notes)
    template = (DATA / "graph.html").read_text(encoding="utf-8")
    legend = "".join(
        f'<li data-kind="{escape(kind.text)}"><i style="background:{kind.colour}"></i>{escape(kind.text)} '
        f"<b>× {kind.count}</b></li>"
        for kind in drawn.kinds
    )
    values = {
        "title": escape(lab.name),
        "facts": ", ".join(
            (_count(len(lab.hosts), "host"), _count(len(lab.switches), "switch", "es"), _count(len(lab.links), "link"))
        ),
        "legend": legend,
        "size": _size(drawn),
        "style": style(),
        "picture": drawn.elements,
    }
    # In one go: what was put in is not looked at again.
    return _PLACE.sub(lambda match: values[match[1] or match[2] or match[3]], template)


def _count(number: int, what: str, ending: str = "s") -> str:
    return f"{number} {what}{ending if number != 1 else ''}"


def _size(drawn: Picture) -> str:
    """Return what is seen first: all, and of a small lab so much around it that it is not drawn huge."""
    width, height = max(drawn.width, _LEAST_WIDTH), max(drawn.height, _LEAST_WIDTH / 2)
    return f"{(drawn.width - width) / 2:g} {(drawn.height - height) / 2:g} {width:g} {height:g}"
