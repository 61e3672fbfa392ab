"""Sites of a lab: what short links join. Pure: a function of the lab alone."""

from __future__ import annotations

from collections import Counter

from testbed import units
from testbed.lab.topology import Lab

SPAN_PS = units.fibre_delay_ps(10**6)
"""Links as long as a kilometre of fibre part sites; shorter ones are within one."""
# More parts than this are no sites: it is a lab of long links.
_MOST_SITES = 26


def sites(lab: Lab) -> dict[str, int]:
    """Return the site of each node: what short links join is one; all is one where that makes no sense."""
    site_of: dict[str, int] = {}
    for node in lab.nodes:
        if node.name in site_of:
            continue
        number = len(set(site_of.values()))
        front = [node.name]
        while front:
            name = front.pop()
            site_of[name] = number
            front += [a.node for a in lab.adjacent[name] if a.link.delay_ps < SPAN_PS and a.node not in site_of]
    alone = sum(count == 1 for count in Counter(site_of.values()).values())
    parts = len(set(site_of.values()))
    return site_of if parts <= _MOST_SITES and alone < parts else dict.fromkeys(site_of, 0)
