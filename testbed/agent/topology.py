"""What a lab is made of, as it is told to those who draw it. Pure."""

from __future__ import annotations

from typing import Any

from testbed.contract.plan import Plan
from testbed.drawing.document import fabric_document
from testbed.lab.sites import sites
from testbed.lab.topology import Lab, Link
from testbed.plan.placement import owner_of

Document = dict[str, Any]


def topology(plan: Plan, lab: Lab, dilation: int) -> Document:
    """Return nodes and links of a lab, and its picture."""
    site = sites(lab)
    several = len({site[host.name] for host in lab.hosts}) > 1
    hosts = {host.name for host in lab.hosts}
    nodes = [
        {
            "name": node.name,
            "kind": "host" if node.name in hosts else "switch",
            "site": str(1 + site[node.name]) if several else None,
            "domain": node.domain,
            "agent": owner_of(plan, node.name),
            "ports": list(lab.ports[node.name]),
        }
        for node in lab.nodes
    ]
    return {
        "driver": plan.get("driver", "netns"),
        "dilation": dilation,
        "nodes": nodes,
        "links": [_link(link) for link in lab.links],
        "sites": sorted({node["site"] for node in nodes if node["site"] is not None}),
        "domains": sorted({node["domain"] for node in nodes if node["domain"] is not None}),
        "picture": fabric_document(lab),
    }


def _link(link: Link) -> Document:
    return {
        "a": str(link.a),
        "b": str(link.b),
        "rate_bps": link.rate_bps,
        "length_m": None if link.length_mm is None else link.length_mm / 1000,
        "delay_ns": link.delay_ps / 1000,
    }
