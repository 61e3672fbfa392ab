"""Labs built, changed in place and removed: the steps that a driver takes in the kernel, under its lock.

The steps of building always come in the same order: namespaces, links, then per namespace offloads, interfaces up,
addresses, neighbours, shaping. So an interface that is up has its offloads off. Last of all every `lo` comes up, and is
first to go down when a lab is removed: a lab with one that is down is one that a killed process left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from testbed.contract.plan import Attachment
from testbed.drivers import Traffic, building
from testbed.drivers.alteration import alter, cut_off, quiesce, read_indices
from testbed.drivers.comparison import compare, sorted_nodes
from testbed.drivers.inhabitants import Inhabitants
from testbed.drivers.layout import Layout, attachments, keep_indices, part_of
from testbed.progress import BuildProgress
from testbed.system import lab_processes, netlink, node_spaces
from testbed.system import namespaces as kernel
from testbed.system.namespaces import Namespace

_LAB_STANDS = netlink.set_link(netlink.LOOPBACK_INDEX, up=True)
_LAB_FALLS = netlink.set_link(netlink.LOOPBACK_INDEX, up=False)


@contextmanager
def opened(lab: str | None) -> Iterator[list[Namespace]]:
    """Open the namespaces of a lab, or of all, and close them in the end."""
    with ExitStack() as stack:
        namespaces = kernel.open_namespaces(lab)
        for namespace in namespaces:
            stack.callback(namespace.close)
        yield namespaces


def is_finished(namespace: Namespace) -> bool:
    """Return whether a namespace is not what a killed process left of one."""
    return bool(netlink.read_link(namespace.netlink, netlink.LOOPBACK_INDEX).flags & netlink.IFF_UP)


class Construction:
    """Build, change and remove labs in whose nodes these live. Call under `namespaces.exclusive`."""

    def __init__(self, inhabitants: Inhabitants) -> None:
        self._inhabitants = inhabitants

    def stands(self, layout: Layout, dilation: int) -> bool:
        """Return whether the lab stands as planned, shaping and netem set anew; remove what was never finished of it.

        Raises DriverError (EEXIST) if it stands and differs.
        """
        with opened(layout.lab) as existing:
            if not existing:
                # A killed process may have left some of who lived there without a namespace.
                self._inhabitants.remove(layout.lab)
                return False
            if all(map(is_finished, existing)) and self._inhabitants.are_as_planned(layout, existing):
                keep_indices(layout, read_indices(existing))
                compare(layout, existing)
                for namespace, node in zip(existing, sorted_nodes(layout), strict=True):
                    building.set_anew(namespace, node, dilation)
                return True
        self.remove(layout.lab, kernel.open_namespaces(layout.lab), ())
        return False

    def finished(self, lab: str) -> list[Namespace]:
        """Open the namespaces of a lab, and remove those that a killed process left unfinished, all of them or a few.

        A few are what a change was adding: the others stay, with what runs in them. The caller closes the answer.
        """
        namespaces = kernel.open_namespaces(lab)
        finished = [namespace for namespace in namespaces if is_finished(namespace)]
        rest = [namespace for namespace in namespaces if namespace not in finished]
        if rest and not finished:
            self.remove(lab, rest, ())
        elif rest:
            self._take_out(lab, rest)
        return finished

    def build(self, layout: Layout, dilation: int, progress: BuildProgress) -> None:
        """Build a lab of which nothing is there; on any error nothing of it stays."""
        made: list[Namespace] = []
        try:
            self._inhabitants.make(layout, made, progress)
            namespaces = {namespace.node: namespace for namespace in made}
            building.create_links(layout, namespaces, layout.links, progress)
            building.create_tunnels(layout, namespaces, layout.tunnels)
            interfaces = {node.name: node.interfaces for node in layout.nodes}
            building.configure_all(layout, namespaces, interfaces, dilation, progress)
            for namespace, node in zip(made, layout.nodes, strict=True):
                building.give_addresses(layout, node, namespace, node.interfaces)
            building.await_links(layout, namespaces)
            self._inhabitants.begin(layout, namespaces)
            self._inhabitants.require_alive(layout)
            for namespace in made:
                namespace.netlink.apply([_LAB_STANDS])
        except BaseException:
            self._inhabitants.remove(layout.lab)
            kernel.remove_namespaces(made)
            kernel.remove_leftovers()
            node_spaces.remove_leftovers()
            raise
        for namespace in made:
            namespace.close()

    def change(
        self,
        layout: Layout,
        past: Layout | None,
        existing: list[Namespace],
        dilation: int,
        progress: BuildProgress,
        traffic: Traffic | None,
    ) -> list[Attachment]:
        """Change a lab whose namespaces these are, and close them; return where its ports are then."""
        misfits = self._inhabitants.misfits(layout, past, existing)
        going = [namespace for namespace in existing if namespace.node in misfits]
        staying = [namespace for namespace in existing if namespace.node not in misfits]
        taken = misfits | {namespace.node for namespace in existing}
        made: list[Namespace] = []
        try:
            self._inhabitants.remove(layout.lab, misfits)
            lab_processes.end_processes(going)
            # Traffic does not wait for what takes its time, but for nodes whose names are taken.
            self._inhabitants.make(part_of(layout, {node.name for node in layout.nodes} - taken), made, progress)
            if traffic is not None:
                quiesce(layout, staying, going, dilation, traffic)
            if going:
                parting, going = going, []
                self._take_out(layout.lab, parting)
            self._inhabitants.make(part_of(layout, misfits), made, progress)
            fresh, give_addresses = alter(layout, staying, made, dilation, progress)
            attached = attachments(layout, fresh)
            if traffic is not None:
                traffic.replace(attached)
            give_addresses()
            self._inhabitants.introduce(layout)
            self._inhabitants.begin(layout, {namespace.node for namespace in made})
            self._inhabitants.require_alive(layout)
            for namespace in made:
                namespace.netlink.apply([_LAB_STANDS])
            return attached
        finally:
            for namespace in [*staying, *going, *made]:
                namespace.close()

    def remove(self, lab: str | None, namespaces: list[Namespace], spare: Collection[int]) -> None:
        """Remove namespaces and who lives there, and whatever a killed process left of others. Closes them."""
        try:
            for namespace in namespaces:
                namespace.netlink.apply([_LAB_FALLS])
            self._inhabitants.remove(lab)
            if namespaces:
                lab_processes.end_processes(namespaces, spare)
        except BaseException:
            for namespace in namespaces:
                namespace.close()
            raise
        kernel.remove_namespaces(namespaces)
        kernel.remove_leftovers()
        node_spaces.remove_leftovers()

    def _take_out(self, lab: str, going: list[Namespace]) -> None:
        """Remove some nodes of a lab, with who lives there; closes their namespaces."""
        self._inhabitants.remove(lab, {namespace.node for namespace in going})
        for namespace in going:
            cut_off(namespace)
        lab_processes.end_processes(going)
        kernel.remove_namespaces(going)
        node_spaces.remove_leftovers()
