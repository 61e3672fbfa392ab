"""Execution traces of Chakra in JSON: an object a rank with the nodes in `workload_graph`, under names of their own.

The names, types and units are those of ASTRA-sim's reader of such files: `Id`, `NodeType`, `data_deps`, `runtime` in us, and what
nodes of traffic say, by the names that attributes have in the binary form.
"""

from __future__ import annotations

import json
from typing import Any

from testbed.importers.draft import Remainder
from testbed.replay.chakra_nodes import ATTRIBUTES, Malformed, Node
from testbed.replay.form import MAX_OPS

KEY = "workload_graph"
_LARGEST = 2**63
_KNOWN = {
    "Id",
    "NodeType",
    "Name",
    "data_deps",
    "ctrlDeps",
    "ctrl_deps",
    "runtime",
    "comm_priority",
    "tensor_size",
    *ATTRIBUTES,
}


def read_nodes(raw: bytes, file: str, remainder: Remainder) -> list[Node]:
    """Read the nodes of a rank. Raises Malformed, with the node, for what is not such a file."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    listed = document.get(KEY) if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise Malformed(f'no list of nodes by the key "{KEY}"')
    if len(listed) > MAX_OPS:
        raise Malformed(f"more than {MAX_OPS} nodes")
    nodes = [_node(entry, place) for place, entry in enumerate(listed)]
    for key in sorted({key for entry in listed for key in entry} - _KNOWN):
        remainder.add(f"the key {key[:40]} of nodes", file, 0)
    return nodes


def _node(entry: Any, place: int) -> Node:
    if not isinstance(entry, dict):
        raise Malformed(f"{KEY}[{place}]: not an object")
    for key in ("Id", "NodeType"):
        if key not in entry:
            raise Malformed(f"{KEY}[{place}]: it has no {key}")
    number, kind, duration = (
        _whole(entry.get(key, 0), f"{KEY}[{place}].{key}") for key in ("Id", "NodeType", "runtime")
    )
    node = Node(number, kind, duration)
    waits = entry.get("data_deps", [])
    if not isinstance(waits, list):
        raise Malformed(f"{KEY}[{place}].data_deps: not a list")
    node.deps = [_whole(each, f"{KEY}[{place}].data_deps") for each in waits]
    for key in ATTRIBUTES & entry.keys():
        value = entry[key]
        if key == "pg_name":
            node.attributes[key] = str(value)
        elif value is not None:
            node.attributes[key] = int(value) if isinstance(value, bool) else _whole(value, f"{KEY}[{place}].{key}")
    return node


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
        raise Malformed(f"{where}: not a whole number from 0 on")
    return value
