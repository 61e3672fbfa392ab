"""The lab of a run as a report draws it. Pure.

A result holds its lab. One that older versions wrote names its links and its switches, which is enough for a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.drawing.document import fabric_document
from testbed.lab.endpoints import Endpoint
from testbed.lab.hosts import Host
from testbed.lab.topology import Lab, Link, Switch
from testbed.run.result import RunResult

Json = dict[str, Any]


def fabric(result: RunResult) -> Json | None:
    """Return the picture of a run's lab; None of a result that does not say which links there were."""
    if not result.links:
        return None
    lab = lab_of(result) if result.settings is None else Lab.model_validate(result.settings.lab)
    return fabric_document(lab)


def lab_of(result: RunResult) -> Lab:
    """Return as much of a run's lab as a picture needs, for results that do not hold it.

    Raises KeyError or ValueError for a result that is inconsistent.
    """
    links = tuple(_link_of(row) for row in result.links)
    names = dict.fromkeys(end.node for link in links for end in (link.a, link.b))
    switches = result.in_force.get("switches", {})
    ports: dict[str, list[str]] = {name: [] for name in names}
    far: dict[Endpoint, str] = {}
    for link in links:
        for end, other in ((link.a, link.b), (link.b, link.a)):
            ports[end.node].append(end.port)
            far[end] = other.node
    homes: dict[str, set[str]] = {}
    domains: dict[str, str | None] = {}
    for place in result.ranks:
        host = place.host.partition("/")[0]
        homes.setdefault(host, set()).add(place.port)
        domains[host] = place.domain
    inner = _domain_switches(switches, ports, far, homes, domains)
    nodes: list[Host | Switch] = []
    for name in sorted(names, key=lambda name: name in switches):
        if name in switches:
            nodes.append(
                Switch(name=name, buffer_bytes=None, lossless=(), lossy_queue_bytes=None, domain=inner.get(name))
            )
            continue
        up = tuple(port for port in ports[name] if far[Endpoint(name, port)] in inner)
        out = tuple(port for port in ports[name] if port not in up)
        domain = domains.get(name)
        nodes.append(Host(name=name, nic_rate_bps=1, domain=domain, scale_out=out, scale_up=up))
    return Lab(name=result.lab, nodes=tuple(nodes), links=links)


def _domain_switches(
    switches: Mapping[str, Any],
    ports: Mapping[str, list[str]],
    far: Mapping[Endpoint, str],
    homes: Mapping[str, set[str]],
    domains: Mapping[str, str | None],
) -> dict[str, str]:
    """Return the switches inside scale-up domains: those that reach hosts of one domain alone, none by its home port."""
    inner: dict[str, str] = {}
    for name in switches:
        around = [far[Endpoint(name, port)] for port in ports.get(name, ())]
        named = {domains.get(host) for host in around}
        home = any(far[Endpoint(host, port)] == name for host in around for port in homes.get(host, ()))
        if around and len(named) == 1 and not home and (domain := named.pop()) is not None:
            inner[name] = domain
    return inner


def _link_of(row: Mapping[str, Any]) -> Link:
    a, b = (Endpoint(*end.split(":")) for end in row["link"].split(" - "))
    length = row.get("length_m")
    return Link(
        a=a,
        b=b,
        rate_bps=row["rate_bps"],
        delay_ps=round(row["delay_ns"] * 1000),
        length_mm=None if length is None else round(length * 1000),
        loss=tuple(row["frame_loss"]),
        medium="memory",
        mtu_bytes=row["frame_bytes"],
        carrier=row["carrier"],
    )
