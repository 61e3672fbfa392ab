"""Labs of this machine whose nodes are network namespaces or, where their plan says `driver: docker`, containers.

A container brings a namespace, which is labelled and bound to a name like any other; so links, addresses, shaping and
captures are the same for both (`netns.py`), and so is what tells a lab of ours from what is not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

from testbed.drivers import Plan, contained
from testbed.drivers.containers import Engine
from testbed.drivers.layout import Contained, Layout
from testbed.drivers.netns import NetnsDriver
from testbed.health import HEALTHY, Health
from testbed.progress import BuildProgress
from testbed.system import lab_processes
from testbed.system import namespaces as kernel
from testbed.system.namespaces import Namespace

_RUNNING = "running"


class MachineDriver(NetnsDriver):
    """The driver of the machine, for labs of both kinds. Holds no state: labs live in the system and in its Docker engine."""

    name = "docker"

    def __init__(self) -> None:
        self._engine = Engine()

    def require(self, plan: Plan) -> None:
        """Raise HostError for an image that is not on this machine."""
        images = {
            node["container"]["image"] for node in plan["nodes"] if "container" in node and not node.get("elsewhere")
        }
        if images:
            self._engine.require_images(images)

    def list_labs(self) -> dict[str, list[str]]:
        """Return the labs on this machine and their nodes, containers without a namespace included."""
        found = {lab: set(nodes) for lab, nodes in super().list_labs().items()}
        for lab, nodes in self._engine.states(None).items():
            found.setdefault(lab, set()).update(nodes)
        return {lab: sorted(nodes) for lab, nodes in sorted(found.items())}

    def faults(self, lab: str) -> dict[str, str]:
        """Say which containers of a lab do not run, or not where they were put, by node."""
        with self._namespaces(lab) as namespaces:
            contained = [namespace.node for namespace in namespaces if namespace.contained]
            strayed = self._strayed(lab, namespaces)
        if not contained:
            return {}
        states = self._engine.states(lab).get(lab, {})
        found = {node: states.get(node, ("gone", ""))[0] for node in contained}
        wrong = {node: f"its container is {state}" for node, state in found.items() if state != _RUNNING}
        return (
            dict.fromkeys(strayed, "its container was restarted, and is not in the network of the lab any more") | wrong
        )

    def _strayed(self, lab: str, namespaces: Collection[Namespace]) -> set[str]:
        """Return the nodes whose container runs in another network namespace than the one that was labelled for it."""
        homes = {namespace.node: namespace for namespace in namespaces if namespace.contained}
        if not homes:
            return set()
        processes = self._engine.processes(lab)
        return {
            node for node, home in homes.items() if node in processes and not lab_processes.is_in(processes[node], home)
        }

    def health(self, lab: str) -> dict[str, Health]:
        """Say how each node of a lab is; a container has to run, and to pass the HEALTHCHECK of its image if that has one."""
        found = super().health(lab)
        for node, health in self._engine.health(lab).items():
            if found.get(node, HEALTHY) == HEALTHY:
                found[node] = health
        return found

    def _destroy(self, lab: str | None, spare: Collection[int]) -> dict[str, list[str]]:
        listed = self._engine.states(lab)
        namespaces = super()._destroy(lab, spare)
        found = {name: set(listed.get(name, ())) | set(namespaces.get(name, ())) for name in {*listed, *namespaces}}
        return {name: sorted(nodes) for name, nodes in sorted(found.items())}

    def _settle(self, layout: Layout, made: list[Namespace], progress: BuildProgress) -> None:
        if all(node.container is None for node in layout.nodes):
            super()._settle(layout, made, progress)
            return
        processes = self._engine.create(layout.lab, layout.nodes, progress)
        kernel.adopt_namespaces(layout.lab, processes, made, progress)

    def _vacate(self, lab: str | None, nodes: Collection[str] | None = None) -> None:
        self._engine.remove(lab, nodes)

    def _unfit(self, layout: Layout, past: Layout | None, nodes: set[str]) -> set[str]:
        found = super()._unfit(layout, past, nodes)
        before = {node.name: node.container for node in past.nodes} if past else {}
        states = self._engine.states(layout.lab).get(layout.lab, {})
        for node in layout.nodes:
            wanted = node.container
            fits = states.get(node.name) == (None if wanted is None else (_RUNNING, wanted.image))
            same = node.name not in before or _limits(before[node.name]) == _limits(wanted)
            if node.name in nodes and not (fits and same):
                found.add(node.name)
        with self._namespaces(layout.lab) as namespaces:
            found |= self._strayed(layout.lab, namespaces) & nodes
        return found | (states.keys() - nodes)

    def _introduce(self, layout: Layout) -> None:
        if any(node.container is not None for node in layout.nodes):
            self._engine.introduce(layout.lab, {n.name: n.container.hosts for n in layout.nodes if n.container})

    def _require_inhabited(self, layout: Layout) -> None:
        if any(node.container is not None for node in layout.nodes):
            self._engine.require_running(layout.lab)

    def _is_inhabited(self, layout: Layout) -> bool:
        planned = {node.name: (_RUNNING, node.container.image) for node in layout.nodes if node.container is not None}
        with self._namespaces(layout.lab) as namespaces:
            contained = {namespace.node for namespace in namespaces if namespace.contained}
            strayed = self._strayed(layout.lab, namespaces)
        if not planned and not contained:
            return True
        return (
            not strayed
            and contained == planned.keys()
            and self._engine.states(layout.lab).get(layout.lab, {}) == planned
        )

    def _spawn(
        self, node: Namespace, argv: Sequence[str], hosts: Mapping[str, str], captured: bool
    ) -> subprocess.Popen[bytes]:
        if not node.contained:
            return super()._spawn(node, argv, hosts, captured)
        return contained.start(node.lab, node.node, argv, captured, terminal=not captured and sys.stdin.isatty())


def _limits(container: Contained | None) -> tuple[int, int] | None:
    return None if container is None else (container.cpu_millis, container.memory_bytes)
