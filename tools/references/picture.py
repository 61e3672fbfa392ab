"""The picture of README: the lab `two-dc`, as `testbed graph --html` draws it."""

from __future__ import annotations

import re

from testbed.lab.topology import load_lab
from testbed.report.drawing.page import page

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --ink: #1d2329; --faint: #7c868f; --host: #eef4fb; --switch: #fff; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181c; --ink: #e4e8ec; --host: #1e2c3a; --switch: #20262c; } }
.paper { fill: var(--paper); }
.node rect { fill: var(--switch); stroke: var(--faint); }
.node.host rect { fill: var(--host); }
.node text { font: 12px ui-monospace, monospace; text-anchor: middle; fill: var(--ink); }
.link path { fill: none; stroke-width: 1.6; }
.link path.touch { stroke: none; }
.label text { font: 11px system-ui, sans-serif; text-anchor: middle; fill: var(--ink); }
.label rect { fill: var(--paper); }
rect.site { fill: none; stroke: var(--faint); stroke-dasharray: 3 5; }
text.site { fill: var(--faint); font: 12px system-ui, sans-serif; }
"""


def picture() -> str:
    """Return the drawing as an SVG document that stands alone, in the colours that its reader prefers."""
    drawn = re.search(r"<svg [^>]*>(.*?)</svg>", page(load_lab("two-dc"), {}), re.DOTALL)
    assert drawn is not None
    box = (10, 50, 392, 335)
    frame = f'<rect class="paper" x="{box[0]}" y="{box[1]}" width="{box[2]}" height="{box[3]}" rx="10"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="588" viewBox="{" ".join(map(str, box))}">'
    return f"{head}\n<style>{_STYLE}</style>\n{frame}{drawn[1].rstrip()}\n</svg>\n"
