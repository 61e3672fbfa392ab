"""The routes that a lab file states: what they may be, and whether they lead where they say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, WithJsonSchema

from testbed.errors import nearest
from testbed.lab import paths
from testbed.lab.endpoints import parse_endpoint
from testbed.lab.paths import Policy, Stated, Tables, W, Way
from testbed.schema.fields import check_name
from testbed.schema.source import KeyPath, Source

_PORT_NAME = re.compile("eth[1-9][0-9]{0,3}")


def parse_ports(value: object) -> tuple[str, ...]:
    """Read a port's name or a list of them; raise ValueError if it is neither."""
    named = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
    if not named:
        raise ValueError("must be a port or a list of ports, like eth2 or [eth2, eth3]")
    for port in named:
        if not isinstance(port, str) or _PORT_NAME.fullmatch(port) is None:
            raise ValueError(f'"{port}" is not a port name; ports are eth1, eth2, ... eth9999')
    return named


def parse_port(value: object) -> str:
    """Read the name of one port; raise ValueError if it is none."""
    (port,) = parse_ports((value,))
    return port


PortName = Annotated[
    str, BeforeValidator(parse_port), WithJsonSchema({"type": "string", "pattern": f"^{_PORT_NAME.pattern}$"})
]
PortNames = Annotated[
    tuple[str, ...],
    BeforeValidator(parse_ports),
    WithJsonSchema(
        {
            "type": ["string", "array"],
            "pattern": f"^{_PORT_NAME.pattern}$",
            "items": {"type": "string", "pattern": f"^{_PORT_NAME.pattern}$"},
            "minItems": 1,
            "description": "port, or ports of equal cost",
            "examples": ["eth2", ["eth2", "eth3"]],
        }
    ),
]


def check_target(value: object) -> str:
    """Return the name of a host, or a port of one like `h1:eth2`; raise ValueError if it is neither."""
    if isinstance(value, str) and ":" in value:
        return str(parse_endpoint(value))
    return check_name(str(value))


Target = Annotated[
    str, BeforeValidator(check_target), WithJsonSchema({"type": "string", "examples": ["h1", "h1:eth2"]})
]


class _Switch(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def routes(self) -> Mapping[str, tuple[str, ...]]: ...


def _target(text: str, ports: Mapping[str, tuple[str, ...]]) -> paths.Target:
    """Return the port of a host that a key of `routes` means."""
    host, _, port = text.partition(":")
    return host, ports[host].index(port) if port else 0


def stated_routes(switches: Sequence[_Switch], ports: Mapping[str, tuple[str, ...]]) -> Stated:
    """Return the routes of switches by number of port; raise ValueError for a port without a link."""
    return {
        switch.name: {
            _target(text, ports): tuple(sorted(ports[switch.name].index(port) for port in named))
            for text, named in switch.routes.items()
        }
        for switch in switches
        if switch.routes
    }


def check_routes(
    graph: Mapping[str, Sequence[W]],
    ports: Mapping[str, tuple[str, ...]],
    switches: Sequence[_Switch],
    policy: Policy,
    roots: Sequence[str],
    source: Source,
) -> None:
    """Note every stated route, and every root, that cannot be.

    Where all names are sound the routes are followed to their ends: one that loops, or leads to where no way goes on, is
    noted at a switch that states one of its steps. Cost: one pass over the links for each host that a switch has routes to.
    """
    before = len(source.faults)
    _check_roots(graph, switches, policy, roots, source)
    names = {switch.name for switch in switches}
    hosts = dict.fromkeys(node for node in graph if node not in names)
    for switch in switches:
        for target, named in switch.routes.items():
            path = ("topology", "nodes", switch.name, "routes", target)
            host, colon, its_port = target.partition(":")
            if host not in hosts:
                source.fault(path, f'no host is called "{host}"{nearest(host, hosts)}')
            elif colon and its_port not in ports[host]:
                source.fault(path, f"{host} has no link on {its_port}{nearest(its_port, ports[host])}")
            elif not colon and len(ports[host]) > 1:
                source.fault(path, f"{host} has {len(ports[host])} ports; say which, like {host}:{ports[host][0]}")
            for port in named:
                if port not in ports[switch.name]:
                    source.fault(path, f"{switch.name} has no link on {port}{nearest(port, ports[switch.name])}")
            if len(set(named)) != len(named):
                source.fault(path, "a port is listed twice")
    if len(source.faults) > before:
        return
    tables = Tables(graph, hosts, policy, roots, stated_routes(switches, ports))
    keys = {switch.name: switch.routes for switch in switches}
    for host in hosts:
        for number, port in enumerate(ports[host]):
            if tables.leaf((host, number)) not in hosts:
                _follow(tables, (host, number), f"{host}:{port}", keys, source)
    if roots:
        _check_reach(tables, roots, source)


def _check_roots(
    graph: Mapping[str, object], switches: Sequence[_Switch], policy: Policy, roots: Sequence[str], source: Source
) -> None:
    path: KeyPath = ("topology", "roots")
    if roots and policy != "up-down":
        source.fault(path, "roots belong to routing: up-down")
    names = [switch.name for switch in switches]
    for index, root in enumerate(roots):
        if root not in names:
            source.fault((*path, index), f'no switch is called "{root}"{nearest(root, names)}')
        elif root in roots[:index]:
            source.fault((*path, index), f"{root} is listed twice")


def _follow(
    tables: Tables[Any], target: paths.Target, endpoint: str, keys: Mapping[str, Collection[str]], source: Source
) -> None:
    """Note the stated routes to a port of a host, which files write as `endpoint`, that never come there."""
    routed = [switch for switch, ports in tables.stated.items() if target in ports]
    if not routed:
        return
    host = target[0]
    leaf = tables.leaf(target)
    ways = dict(tables.told(target))
    path: dict[str, KeyPath] = {}
    for switch in routed:
        path[switch] = ("topology", "nodes", switch, "routes", endpoint if endpoint in keys[switch] else host)
    wrong = False
    for switch in routed:
        for way in ways[switch]:
            if way.node in tables.ends and (way.node != host or switch != leaf):
                other = f"the host {way.node}" if way.node != host else f"another port of {host}"
                source.fault(path[switch], f"leads to {other}")
                wrong = True
            elif switch == leaf and way.node != host:
                source.fault(path[switch], f"{host} is on {switch} itself")
                wrong = True
    if wrong:
        return
    _, lost = paths.settle(ways, leaf)
    for switch in routed:
        if switch in lost:
            source.fault(path[switch], _fate(switch, ways, leaf, host))


def _fate(switch: str, ways: Mapping[str, Sequence[Way]], leaf: str, host: str) -> str:
    """Return where a route that never arrives goes, by its first way that does not."""
    settled, _ = paths.settle(ways, leaf)
    walk = [switch]
    while True:
        onward = next((way.node for way in ways.get(walk[-1], ()) if way.node not in settled), None)
        if onward is None:
            return f"leads to {walk[-1]}, which has no way to {host}"
        if onward in walk:
            return f"goes round: {' - '.join([*walk[walk.index(onward) :], onward])}"
        walk.append(onward)


def _check_reach(tables: Tables[Any], roots: Sequence[str], source: Source) -> None:
    """Note it if up/down routing from these roots leaves hosts apart that have a path."""
    leaves = {way.node for host in tables.ends for way in tables.graph[host] if way.node not in tables.ends}
    for leaf in sorted(leaves):
        apart = leaves & (paths.shortest(tables.graph, leaf, tables.ends).keys() - tables.by_policy(leaf).keys())
        if apart:
            message = f"from {', '.join(roots)}, no path up and then down joins {min(apart)} and {leaf}"
            return source.fault(("topology", "roots"), message)
