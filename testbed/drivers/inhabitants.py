"""What lives in the nodes of a lab: nothing but programs that are started there, where a node is a bare namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping, Sequence

from testbed.contract.plan import Plan
from testbed.drivers.layout import Layout, Node
from testbed.health import Health
from testbed.progress import BuildProgress
from testbed.system import namespaces as kernel
from testbed.system import node_spaces, private_pids, processes
from testbed.system.namespaces import Namespace


class Inhabitants:
    """What lives in bare namespaces. A kind of node that is more than a namespace overrides what it has more."""

    def require(self, plan: Plan) -> None:
        """Raise HostError where this machine lacks something that a plan names: a namespace needs nothing but the kernel."""

    def make(self, layout: Layout, made: list[Namespace], progress: BuildProgress) -> None:
        """Make the namespaces of a lab with who lives there, and append each to `made`."""
        kernel.create_namespaces(layout.lab, [node.name for node in layout.nodes], made, progress)
        node_spaces.make(layout.lab, {node.name: node.hosts for node in layout.nodes})
        private_pids.make(layout.lab, [node.name for node in layout.nodes if node.private_pids])

    def remove(self, lab: str | None, nodes: Collection[str] | None = None) -> None:
        """Remove what of these nodes, or of all of a lab or of every lab, is not a namespace."""

    def misfits(self, layout: Layout, past: Layout | None, existing: Sequence[Namespace]) -> set[str]:
        """Return which nodes cannot be those of a layout, and have to go: of those that have a namespace, or less."""
        wanted = {node.name: node for node in layout.nodes}
        return {each.node for each in existing if each.node not in wanted or _is_otherwise(each, wanted[each.node])}

    def introduce(self, layout: Layout) -> None:
        """Tell nodes that were there before the names of all hosts."""
        for node in layout.nodes:
            node_spaces.write_hosts(kernel.namespace_path(layout.lab, node.name), node.hosts)

    def begin(self, layout: Layout, nodes: Collection[str]) -> None:
        """Begin what these nodes, which are new, were given to do once their links are up: namespaces, nothing."""

    def require_alive(self, layout: Layout) -> None:
        """Raise HostError if a node is more than a namespace, and that has ended already."""

    def are_as_planned(self, layout: Layout, existing: Sequence[Namespace]) -> bool:
        """Return whether what is more than a namespace is there and as planned; nodes too many or too few are not judged."""
        wanted = {node.name: node for node in layout.nodes}
        return not any(_is_otherwise(each, wanted[each.node]) for each in existing if each.node in wanted)

    def labs(self, lab: str | None) -> Mapping[str, Collection[str]]:
        """Return the nodes, by lab, that are more than a namespace: of one lab or of all."""
        return {}

    def faults(self, lab: str, existing: Sequence[Namespace]) -> dict[str, str]:
        """Return what is wrong with nodes of a lab that stands, by node: whose own processes have no first one any more."""
        return {each.node: private_pids.GONE for each in existing if not private_pids.is_whole(each.path)}

    def health(self, lab: str) -> dict[str, Health]:
        """Return how those nodes of a lab are that are more than a namespace."""
        return {}

    def start(
        self, node: Namespace, argv: Sequence[str], captured: bool, variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a program in a node, with this process's standard streams or its output captured, and more variables."""
        return processes.spawn_in(node.path, argv, captured, variables)


def _is_otherwise(namespace: Namespace, node: Node) -> bool:
    """Return whether a bare namespace has other processes to itself than planned, or none any more."""
    if namespace.contained or node.container is not None:
        return False
    there = private_pids.exists(namespace.path)
    return there != node.private_pids or not private_pids.is_whole(namespace.path)
