"""Wide-area topologies by name, from the package `topohub` (extra `topologies`), with the distances that it knows.

Data of the package: networkx's node-link JSON, `nodes[{id, name, type}]`, `edges[{source, target, dist}]`, dist in km.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from testbed.errors import HostError, UsageError, nearest
from testbed.importers.draft import Draft, Imported, LinkRule, counted, safe_name
from testbed.importers.text import Text, decoded, read_json, shown
from testbed.units import format_length

PACKAGE = "topohub"
_MM_PER_KM = 10**6
_WAYPOINT = "Waypoint"
LOCAL_LENGTH = "20m"
MOST_HOSTS = 64


def find(name: str) -> Text:
    """Return the data of a topology, as `sndlib/polska`.

    Raises HostError where the package is not installed, UsageError for a name that it does not have.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise HostError("topohub is not installed: pip install 'lossless-testbed[topologies]'")
    known = set(names())
    if name not in known:
        raise UsageError(f'topohub has no topology "{shown(name)}"{_like(name, known)}')
    file = importlib.resources.files(PACKAGE) / "data"
    for part in f"{name}.json".split("/"):
        file = file / part
    return decoded(f"{PACKAGE}/{name}", file.read_bytes())


def _like(name: str, known: set[str]) -> str:
    said = nearest(name, known)
    return (
        said if "did you mean" in said else f"; families: {', '.join(sorted({each.split('/')[0] for each in known}))}"
    )


def names() -> Iterator[str]:
    """Yield the names of all topologies; none where the package is not installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        return
    yield from _below(importlib.resources.files(PACKAGE) / "data", "")


def _below(folder: Any, path: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(".json") and path:
            yield path + entry.name.removesuffix(".json")


def read_topohub(text: Text, hosts: int = 1, rules: Sequence[LinkRule] = ()) -> Imported:
    """Return a lab of a switch for each node, with so many hosts at each that is not a waypoint of a cable."""
    data = read_json(text)
    nodes, edges = data.get("nodes"), data.get("edges")
    if (
        not isinstance(nodes, list)
        or not isinstance(edges, list)
        or not all(isinstance(n, dict) for n in [*nodes, *edges])
    ):
        text.fail(0, "not a topology of topohub: no lists of nodes and edges")
    draft = Draft(text.file, text.file.rpartition("/")[2], rules)
    names = [safe_name(str(node.get("name") or "")) for node in nodes]
    often = Counter(names)
    called: dict[str, str] = {}
    for node, name in zip(nodes, names, strict=True):
        number = safe_name(str(node.get("id")))
        unique = name if name and often[name] == 1 else f"{name or 'n'}-{number}"
        called[str(node.get("id"))] = draft.node(unique, "switch", 0)
    for node in nodes:
        if _WAYPOINT in str(node.get("type", "")):
            continue
        site = called[str(node.get("id"))]
        for index in range(1, hosts + 1):
            host = draft.node(f"{site}-h{index}", "host", 0)
            draft.link(host, site, 0, length=LOCAL_LENGTH)
    unknown = 0
    for edge in edges:
        ends = [called.get(str(edge.get(key))) for key in ("source", "target")]
        if ends[0] is None or ends[1] is None:
            text.fail(0, f"an edge between nodes that are not there: {shown(str(edge))}")
        dist = edge.get("dist")
        length: dict[str, Any] = {}
        if isinstance(dist, int | float) and 0 < dist < 10**6:
            length = {"length": format_length(round(dist * _MM_PER_KM))}
        else:
            unknown += 1
        draft.link(ends[0], ends[1], 0, **length)
    notes = [f"{counted(unknown, 'link')} without a distance"] if unknown else []
    graph = data.get("graph")
    if isinstance(graph, dict) and graph.get("demands"):
        draft.leave("demands", 0)
    return draft.imported(notes=notes)
