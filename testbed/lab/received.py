"""A resolved lab that came over the bus as JSON: it may hold anything, and has not been through the checks of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pydantic import ValidationError

from testbed.errors import UsageError
from testbed.lab.circuits import ordered
from testbed.lab.endpoints import Endpoint, parse_endpoint
from testbed.lab.topology import Lab
from testbed.schema import fields

_MOST = 2**63 - 1
_SIGNED = ("xon_offset_bytes",)
"""Of these a negative number means something, as of every `alpha_log2`."""
_DIVISORS = ("rate_bps", "nic_rate_bps", "drain_bps", "cell_bytes", "accelerators")
_FEWEST_ALPHA, _MOST_ALPHA = -64, 64


def read_lab(data: object, name: str) -> Lab:
    """Read a lab from JSON data; raise UsageError, beginning with `name`, unless it is one that a file could have described."""
    try:
        lab = Lab.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{name}: {error.error_count()} faults, the first: {error.errors()[0]['msg'][:200]}") from None
    fault = next(_faults(lab), None)
    if fault is not None:
        raise UsageError(f"{name}: {fault[:200]}")
    return lab


def _faults(lab: Lab) -> Iterator[str]:
    """Yield what is wrong with a lab; what is looked at later relies on what was looked at before."""
    for node in lab.nodes:
        yield from _number_faults(node.model_dump(), node.name)
    for number, link in enumerate(lab.links):
        yield from _number_faults(link.model_dump(), f"link {number}")
        if not all(0 <= loss <= 1 for loss in link.loss):
            yield f"link {number}: loss must be between 0 and 1"
    names = [node.name for node in lab.nodes]
    for name in (lab.name, *names):
        try:
            fields.check_name(name)
        except ValueError as error:
            yield str(error)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        yield f"node {twice[0]} is there twice"
    yield from _graph_faults(lab, set(names))


def _number_faults(part: object, where: str, key: str = "") -> Iterator[str]:
    if isinstance(part, dict):
        for inner, value in part.items():
            yield from _number_faults(value, where, str(inner))
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _number_faults(value, where, key)
    elif isinstance(part, int) and not isinstance(part, bool):
        least = _FEWEST_ALPHA if "alpha" in key else -_MOST if key in _SIGNED else int(key in _DIVISORS)
        most = _MOST_ALPHA if "alpha" in key else _MOST
        if not least <= part <= most:
            yield f"{where}: {key} must be between {least} and {most}"


def _graph_faults(lab: Lab, names: set[str]) -> Iterator[str]:
    ends = [end for link in lab.links for end in (link.a, link.b)]
    for end in ends:
        try:
            parse_endpoint(str(end))
        except ValueError as error:
            yield str(error)
        if end.node not in names:
            yield f"a link to node {end.node}, which is not there"
    if twice := [end for end, count in Counter(ends).items() if count > 1]:
        yield f"two links at {twice[0]}"
    linked = {end.node for end in ends}
    hosts = {host.name for host in lab.hosts}
    if alone := hosts - linked:
        yield f"{min(alone)}: a host without a link"
    for own in lab.hosts:
        if Counter((*own.scale_out, *own.scale_up)) != Counter(lab.ports[own.name]):
            yield f"{own.name}: its scale-out and scale-up ports must be those that have links, each once"
    switches = {switch.name for switch in lab.switches}
    if strange := set(lab.roots) - switches:
        yield f"root {min(strange)} is not a switch"
    for switch in lab.switches:
        for host, ports in switch.routes.items():
            if host not in hosts or not {Endpoint(switch.name, port) for port in ports} <= set(ends):
                yield f"{switch.name}: a route to {host} that leads nowhere"
    pairs = {ordered(str(link.a), str(link.b)) for link in lab.links}
    for circuit in lab.circuits.values():
        if any(pair not in pairs for step in circuit.steps for pair in step.pairs()):
            yield "a circuit between ports that no link joins"
