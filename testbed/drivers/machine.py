"""Labs of this machine whose nodes are network namespaces or, where their plan says `driver: docker`, containers.

A container brings a namespace, which is labelled and bound to a name like any other; so links, addresses, shaping and
captures are the same for both (`netns.py`), and so is what tells a lab of ours from what is not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

from testbed.contract.container import Setup
from testbed.contract.plan import Plan
from testbed.drivers import contained
from testbed.drivers.containers import Engine
from testbed.drivers.inhabitants import Inhabitants
from testbed.drivers.layout import Contained, Layout
from testbed.drivers.netns import NetnsDriver
from testbed.health import Health
from testbed.progress import BuildProgress
from testbed.system import lab_processes
from testbed.system import namespaces as kernel
from testbed.system.namespaces import Namespace

_RUNNING = "running"


class MachineDriver(NetnsDriver):
    """The driver of the machine, for labs of both kinds. Holds no state: labs live in the system and in its Docker engine."""

    def __init__(self) -> None:
        super().__init__(Containers())


class Containers(Inhabitants):
    """What lives in namespaces of both kinds, bare ones and those of containers of this machine's Docker engine."""

    def __init__(self) -> None:
        self._engine = Engine()

    def require(self, plan: Plan) -> None:
        """Raise HostError for an image that is not on this machine."""
        images = {
            node["container"]["image"] for node in plan["nodes"] if "container" in node and not node.get("elsewhere")
        }
        if images:
            self._engine.require_images(images)

    def labs(self, lab: str | None) -> Mapping[str, Collection[str]]:
        """Return the containers by lab, those without a namespace included."""
        return self._engine.states(lab)

    def faults(self, lab: str, existing: Sequence[Namespace]) -> dict[str, str]:
        """Return which containers of a lab do not run, or not where they were put, by node."""
        contained = [namespace.node for namespace in existing if namespace.contained]
        if not contained:
            return super().faults(lab, existing)
        strayed = self._strayed(lab, existing)
        states = self._engine.states(lab).get(lab, {})
        by_node = {node: states.get(node, ("gone", ""))[0] for node in contained}
        wrong = {node: f"its container is {state}" for node, state in by_node.items() if state != _RUNNING}
        return (
            dict.fromkeys(strayed, "its container was restarted, and is not in the network of the lab any more") | wrong
        )

    def _strayed(self, lab: str, existing: Sequence[Namespace]) -> set[str]:
        """Return the nodes whose container runs in another network namespace than the one that was labelled for it."""
        homes = {namespace.node: namespace for namespace in existing if namespace.contained}
        if not homes:
            return set()
        running = self._engine.processes(lab)
        return {
            node for node, home in homes.items() if node in running and not lab_processes.is_in(running[node], home)
        }

    def health(self, lab: str) -> dict[str, Health]:
        """Return how containers are: each has to run, and to pass the HEALTHCHECK of its image if that has one."""
        return self._engine.health(lab)

    def make(self, layout: Layout, made: list[Namespace], progress: BuildProgress) -> None:
        """Make the namespaces of a lab, or its containers and label theirs."""
        if all(node.container is None for node in layout.nodes):
            super().make(layout, made, progress)
            return
        created = self._engine.create(layout.lab, layout.nodes, progress)
        kernel.adopt_namespaces(layout.lab, created, made, progress)

    def remove(self, lab: str | None, nodes: Collection[str] | None = None) -> None:
        """Remove the containers of these nodes, or of a lab, or all of them."""
        self._engine.remove(lab, nodes)

    def misfits(self, layout: Layout, past: Layout | None, existing: Sequence[Namespace]) -> set[str]:
        """Return which nodes have to go, those included whose container is another than planned or has left."""
        misfits = super().misfits(layout, past, existing)
        nodes = {namespace.node for namespace in existing}
        before = {node.name: node.container for node in past.nodes} if past else {}
        states = self._engine.states(layout.lab).get(layout.lab, {})
        for node in layout.nodes:
            wanted = node.container
            fits = states.get(node.name) == (None if wanted is None else (_RUNNING, wanted.image))
            same = node.name not in before or _limits(before[node.name]) == _limits(wanted)
            if node.name in nodes and not (fits and same):
                misfits.add(node.name)
        return misfits | self._strayed(layout.lab, existing) | (states.keys() - nodes)

    def introduce(self, layout: Layout) -> None:
        """Write the names of all hosts into the nodes that were there before."""
        if any(node.container is not None for node in layout.nodes):
            self._engine.introduce(layout.lab, {node.name: node.hosts.all() for node in layout.nodes if node.container})
        else:
            super().introduce(layout)

    def begin(self, layout: Layout, nodes: Collection[str]) -> None:
        """Run the commands of containers, and publish their ports."""
        asked = [node for node in layout.nodes if node.name in nodes and node.container and node.container.setup]
        if asked:
            self._engine.begin(layout.lab, asked)

    def require_alive(self, layout: Layout) -> None:
        """Raise HostError if a container has ended already."""
        if any(node.container is not None for node in layout.nodes):
            self._engine.require_running(layout.lab)

    def are_as_planned(self, layout: Layout, existing: Sequence[Namespace]) -> bool:
        """Return whether the containers are those of the plan, run, and are where they were put."""
        planned = {node.name: (_RUNNING, node.container.image) for node in layout.nodes if node.container is not None}
        nodes = {namespace.node for namespace in existing if namespace.contained}
        if not planned and not nodes:
            return super().are_as_planned(layout, existing)
        return (
            nodes == planned.keys()
            and not self._strayed(layout.lab, existing)
            and self._engine.states(layout.lab).get(layout.lab, {}) == planned
        )

    def start(
        self, node: Namespace, argv: Sequence[str], captured: bool, variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a program in a namespace, or in the container that lives there."""
        if not node.contained:
            return super().start(node, argv, captured, variables)
        terminal = not captured and sys.stdin.isatty()
        return contained.start(node.lab, node.node, argv, captured, terminal, variables)


def _limits(container: Contained | None) -> tuple[int, int, Setup | None] | None:
    return None if container is None else (container.cpu_millis, container.memory_bytes, container.setup)
