"""What lives in the nodes of a lab: nothing but programs that are started there, where a node is a bare namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping, Sequence

from testbed.contract.plan import Plan
from testbed.drivers.layout import Layout
from testbed.health import Health
from testbed.progress import BuildProgress
from testbed.system import namespaces as kernel
from testbed.system import node_spaces, processes
from testbed.system.namespaces import Namespace


class Inhabitants:
    """What lives in bare namespaces. A kind of node that is more than a namespace overrides what it has more."""

    def require(self, plan: Plan) -> None:
        """Raise HostError where this machine lacks something that a plan names: a namespace needs nothing but the kernel."""

    def make(self, layout: Layout, made: list[Namespace], progress: BuildProgress) -> None:
        """Make the namespaces of a lab with who lives there, and append each to `made`."""
        names = [node.name for node in layout.nodes]
        kernel.create_namespaces(layout.lab, names, made, progress)
        node_spaces.make(layout.lab, names)

    def remove(self, lab: str | None, nodes: Collection[str] | None = None) -> None:
        """Remove what of these nodes, or of all of a lab or of every lab, is not a namespace."""

    def misfits(self, layout: Layout, past: Layout | None, existing: Sequence[Namespace]) -> set[str]:
        """Return which nodes cannot be those of a layout, and have to go: of those that have a namespace, or less."""
        return {namespace.node for namespace in existing} - {node.name for node in layout.nodes}

    def introduce(self, layout: Layout) -> None:
        """Tell nodes that were there before the names of all hosts, where they do not learn them otherwise."""

    def require_alive(self, layout: Layout) -> None:
        """Raise HostError if a node is more than a namespace, and that has ended already."""

    def are_as_planned(self, layout: Layout, existing: Sequence[Namespace]) -> bool:
        """Return whether what is more than a namespace is there and as planned."""
        return True

    def labs(self, lab: str | None) -> Mapping[str, Collection[str]]:
        """Return the nodes, by lab, that are more than a namespace: of one lab or of all."""
        return {}

    def faults(self, lab: str, existing: Sequence[Namespace]) -> dict[str, str]:
        """Return what is wrong with nodes of a lab that stands, by node; namespaces alone are never wrong."""
        return {}

    def health(self, lab: str) -> dict[str, Health]:
        """Return how those nodes of a lab are that are more than a namespace."""
        return {}

    def start(
        self, node: Namespace, argv: Sequence[str], hosts: Mapping[str, str], captured: bool
    ) -> subprocess.Popen[bytes]:
        """Start a program in a node, with this process's standard streams or with its output captured."""
        return processes.spawn_in(node.path, argv, hosts, captured)
