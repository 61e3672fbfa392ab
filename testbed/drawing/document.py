"""The picture of a lab as a document, for pages that draw it themselves: where nodes, links and frames are, in pixels. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

from testbed.drawing.blocks import HEIGHT
from testbed.drawing.layout import Layout, lay_out
from testbed.drawing.picture import frames, link_path
from testbed.lab.endpoints import Endpoint
from testbed.lab.topology import Lab, Link

Json = dict[str, Any]


def fabric_document(lab: Lab) -> Json:
    """Return the picture of a lab.

    `nodes` are boxes by their middle, `links` paths from `a` to `b`, in the order of the lab; `frames` surround sites and
    domains.
    """
    layout = lay_out(lab)
    hosts = {host.name for host in lab.hosts}
    return {
        "width": round(layout.width),
        "height": round(layout.height),
        "box": HEIGHT,
        "nodes": [
            {
                "name": name,
                "kind": "host" if name in hosts else "switch",
                "x": round(box.x),
                "y": round(box.y),
                "w": round(box.width),
            }
            for name, box in layout.boxes.items()
        ],
        "links": [_link(layout, index, link) for index, link in enumerate(lab.links)],
        "frames": [frame._asdict() for frame in frames(lab, layout)],
    }


def _link(layout: Layout, index: int, link: Link) -> Json:
    """Return the path of a link, and from which of its ends it is drawn."""
    path = link_path(layout, index, link)
    x, y = (float(number) for number in re.split("[ LCVH]", path[1:], maxsplit=2)[:2])

    def away(end: Endpoint) -> float:
        box = layout.boxes[end.node]
        return math.hypot(box.x - x, box.y - y)

    return {"a": str(link.a), "b": str(link.b), "path": path, "from": str(min(link.a, link.b, key=away))}
