"""Endpoints as files write them: `leaf-a:eth9`, one port of one node."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from testbed.contract.plan import Plan
from testbed.schema import fields

_PORT = re.compile(r"eth([1-9][0-9]{0,3})")
ENDPOINTS_SCHEMA = {
    "type": "array",
    "items": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]*:eth[1-9][0-9]*$"},
    "minItems": 2,
    "maxItems": 2,
    "examples": [["a1:eth1", "leaf-a:eth1"]],
}


class Endpoint(NamedTuple):
    """One port of one node, written `leaf-a:eth9`."""

    node: str
    port: str

    def __str__(self) -> str:
        return f"{self.node}:{self.port}"


def parse_endpoint(text: object) -> Endpoint:
    """Read `node:ethN`; raise ValueError if it is not that."""
    node, colon, port = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not colon:
        raise ValueError(f'"{text}" is not an endpoint; write it like leaf-a:eth1')
    if _PORT.fullmatch(port) is None:
        raise ValueError(f'"{port}" is not a port name; ports are eth1, eth2, ... eth9999')
    return Endpoint(fields.check_name(node), port)


def parse_endpoints(value: object) -> tuple[Endpoint, Endpoint]:
    """Read the two ends of a link; raise ValueError if they are not two endpoints."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError('a link has two endpoints; write it like ["a1:eth1", "leaf-a:eth1"]')
    return parse_endpoint(value[0]), parse_endpoint(value[1])


def port_number(port: str) -> int:
    """Return the number in a port's name."""
    return int(port.removeprefix("eth"))


def name_of(plan: Plan, place: Sequence[int]) -> str:
    """Return a port of a plan, given by the numbers of its node and of itself, as `node:port`."""
    node = plan["nodes"][place[0]]
    return f"{node['name']}:{node['ports'][place[1]]['name']}"
