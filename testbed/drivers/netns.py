"""Labs out of network namespaces and veth pairs.

The plan is first turned into what each namespace shall hold (`layout.py`, pure); building sends that to the kernel in one
send for all links and one for each namespace; comparing reads it back. The steps of building always come in the same
order: namespaces, links, then per namespace offloads, interfaces up, addresses, neighbours, shaping. So an interface that
is up has its offloads off. Last of all every `lo` comes up, and is first to go down when a lab is removed: a lab with one
that is down is one that a killed process left, and the next deploy clears it away.
"""

from __future__ import annotations

import errno
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from testbed.drivers import NOTHING_BY_HAND, Attachment, ByHand, Plan, Traffic, building, carriers, emulation, links
from testbed.drivers.alteration import alter, cut_off, quieten, read_indices
from testbed.drivers.comparison import compare, deviations, sorted_nodes
from testbed.drivers.emulation import Emulation
from testbed.drivers.layout import FIRST_INDEX, Layout, attachments, keep_indices, layout_of, part_of
from testbed.errors import DriverError
from testbed.health import HEALTHY, Health
from testbed.progress import BuildProgress
from testbed.system import forwarding, ipv4, lab_processes, netem, netlink, node_spaces, processes, qdisc
from testbed.system import namespaces as kernel
from testbed.system.namespaces import Namespace
from testbed.system.netem import Netem
from testbed.system.netlink import Netlink

_LAB_STANDS = netlink.set_link(netlink.LOOPBACK_INDEX, up=True)
_LAB_FALLS = netlink.set_link(netlink.LOOPBACK_INDEX, up=False)


class NetnsDriver:
    """The driver that makes a node a network namespace. Holds no state: labs live in the system."""

    name = "netns"

    def deploy(self, plan: Plan, dilation: int = 1, progress: BuildProgress | None = None) -> list[Attachment]:
        """Build the lab of a plan and return where its ports are.

        A lab of that name that is exactly as planned is kept, only shaping and netem are set again, because `dilation`
        may differ and somebody may have changed them. What a killed deploy or destroy left of it is removed first.
        Raises DriverError: EPERM without privileges, EEXIST if the lab exists and differs or a name is taken, EBADMSG
        if netem does not do what it was asked; HostError if the plan asks for netem and there is none. On any error
        nothing that this call made stays.
        """
        kernel.require_privileges("deploy")
        if dilation < 1:
            raise ValueError(f"dilation is at least 1, not {dilation}")
        layout = self._layout(plan, dilation)
        with _system_errors("deploy"), kernel.exclusive():
            if not self._stands(layout, dilation):
                self._build(layout, dilation, progress or BuildProgress())
        return attachments(layout)

    def require(self, plan: Plan) -> None:
        """Raise HostError where this machine lacks something that a plan names: namespaces need nothing but the kernel."""

    def reconcile(
        self,
        plan: Plan,
        before: Plan | None,
        dilation: int = 1,
        progress: BuildProgress | None = None,
        traffic: Traffic | None = None,
    ) -> list[Attachment]:
        """Make a lab that stands that of a plan, and return where its ports are; touch only what differs.

        `before` is the plan that it was built by, if that is known; `traffic`, what its data plane carries meanwhile. A lab
        that does not stand is built. Raises as `deploy` does; on an error a lab that was being changed is left as it is then,
        for another try or for `destroy`.
        """
        kernel.require_privileges("deploy")
        progress = progress or BuildProgress()
        layout = self._layout(plan, dilation)
        past = None if before is None else layout_of(before, {})
        with _system_errors("deploy"), kernel.exclusive():
            existing = self._finished(layout.lab)
            if not existing:
                self._build(layout, dilation, progress)
                found = attachments(layout, {(node.name, end.name) for node in layout.nodes for end in node.interfaces})
                if traffic is not None:
                    traffic.replace(found)
                return found
            return self._alter(layout, past, existing, dilation, progress, traffic)

    def destroy(self, lab: str, spare: Collection[int] = ()) -> list[str]:
        """End the processes inside a lab and remove its namespaces, and with them every link. Returns its nodes.

        This process and those whose ids are in `spare` are not ended. No lab of that name: returns an empty list.
        """
        return self._destroy(lab, spare).get(lab, [])

    def destroy_all(self, spare: Collection[int] = ()) -> dict[str, list[str]]:
        """Remove every lab on this machine, as `destroy` does. Returns the nodes of each."""
        return self._destroy(None, spare)

    def _destroy(self, lab: str | None, spare: Collection[int]) -> dict[str, list[str]]:
        with _system_errors("destroy"), kernel.exclusive():
            namespaces = kernel.open_namespaces(lab)
            labs = _by_lab(namespaces)
            self._remove(lab, namespaces, spare)
        return labs

    def list_labs(self) -> dict[str, list[str]]:
        """Return the labs on this machine and their nodes, read from the labels of the namespaces."""
        with _system_errors("list labs"), _opened(None) as namespaces:
            return _by_lab(namespaces)

    def namespace_path(self, lab: str, node: str) -> str:
        """Return the path of a node's namespace. Raises DriverError if there is no such node."""
        path = kernel.namespace_path(lab, node)
        if node not in self.list_labs().get(lab, []):
            raise DriverError(f"find node {node} of lab {lab}", errno.ENOENT)
        return path

    def exec_in(self, lab: str, node: str, argv: Sequence[str]) -> int:
        """Run a program inside a node with this process's standard streams; return its exit status.

        The names of the lab's hosts lead to the addresses of their kernels. A program ended by signal n gives 128 + n,
        as in a shell. TERM, HUP and INT are sent on to the program; ^C reaches it from the terminal. Raises DriverError if the
        program cannot be started.
        """
        status = forwarding.wait(lambda: self._start(lab, node, argv, captured=False))
        return status if status >= 0 else 128 - status

    def emulations(self, plan: Plan, dilation: int = 1) -> list[Emulation]:
        """Say for each link of a plan whether `deploy` has it imposed by netem. Raises HostError as `deploy` does."""
        return emulation.choose(plan, dilation, _has_netem)

    def counters(self, lab: str) -> links.Counters:
        """Open the counters of a lab's netems, beginning at zero now. The caller closes them."""
        with _system_errors("count losses"):
            return links.Counters(kernel.open_namespaces(lab))

    def impair(self, lab: str, endpoint: str, change: Mapping[str, Any], dilation: int = 1) -> Netem:
        """Change what netem does to the frames that leave `endpoint` (`node:port`); return what it now does.

        `change` names what changes, in nominal time: `delay_ps`, `jitter_ps`, `loss_process`. The rest stays, and so do
        frames under way. Raises ValueError for what netem cannot do, DriverError (ENODEV) if the link is not netem's.
        """
        with _system_errors("impair"), self._endpoint(lab, endpoint) as (control, index):
            return links.change(control, index, lambda found: emulation.changed(found, change, dilation), endpoint)

    def configured(self, lab: str, endpoint: str) -> Netem | None:
        """Return what netem does to the frames that leave `endpoint`, in wall time, as the kernel says; None if native."""
        with _system_errors("read netem"), self._endpoint(lab, endpoint) as (control, index):
            return links.configured(control, index)

    @contextmanager
    def _endpoint(self, lab: str, endpoint: str) -> Iterator[tuple[Netlink, int]]:
        node, _, port = endpoint.partition(":")
        with _opened(lab) as namespaces:
            for namespace in namespaces:
                if namespace.node == node:
                    for link in netlink.read_links(namespace.netlink):
                        if link.name == port and link.index >= FIRST_INDEX:
                            yield namespace.netlink, link.index
                            return
        raise DriverError(f"find {endpoint} of lab {lab}", errno.ENODEV)

    def shape(self, lab: str, node: str, port: str, rate_bps: int) -> None:
        """Limit the kernel traffic that a host sends on a port to `rate_bps` of wall time; 0 lifts the limit.

        Leaves the frames of the emulated NIC alone, but for those inside a netem when a limit is lifted.
        """
        with _system_errors("shape"), self._endpoint(lab, f"{node}:{port}") as (control, index):
            mtu_bytes = netlink.read_link(control, index).mtu_bytes
            shaper = qdisc.htb(rate_bps, mtu_bytes) if rate_bps else None
            delay = links.configured(control, index)
            if delay is None:
                qdisc.set_qdisc(control, index, shaper)
                return
            if shaper is None:
                qdisc.set_qdisc(control, index, None)  # and with it the shaper below
            qdisc.set_qdisc(control, index, netem.qdisc(delay, shaper))

    def run_in(
        self, lab: str, node: str, argv: Sequence[str], timeout_s: float | None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside a node to its end, without input; return its status and what it said.

        Otherwise as `exec_in`. Raises subprocess.TimeoutExpired, the program being killed, after `timeout_s`.
        """
        with self._start(lab, node, argv, captured=True) as process:
            try:
                out, errors = process.communicate(timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return subprocess.CompletedProcess(
            list(argv), status, out.decode(errors="replace"), errors.decode(errors="replace")
        )

    def faults(self, lab: str) -> dict[str, str]:
        """Say what is wrong with nodes of a lab that stands, by node, as far as that is known without its plan."""
        return {}

    def deviations(self, plan: Plan, dilation: int = 1, by_hand: ByHand = NOTHING_BY_HAND) -> dict[str, str]:
        """Say what of each node of a lab is not as planned, by node; `by_hand` is what is otherwise since it was asked for."""
        layout = self._layout(plan, dilation)
        with _system_errors("compare a lab with its plan"), _opened(layout.lab) as namespaces:
            keep_indices(layout, read_indices(namespaces))
            return deviations(layout, namespaces, dilation, by_hand) | self.faults(layout.lab)

    def set_carrier(self, plan: Plan, link: tuple[str, str], up: bool, dilation: int = 1) -> None:
        """Take the carrier of a link away at both its ends (`node:port`), or give it back."""
        layout = self._layout(plan, dilation)
        with _system_errors("set a carrier"), _opened(layout.lab) as namespaces:
            keep_indices(layout, read_indices(namespaces))
            carriers.set_carrier(layout, namespaces, link, up)

    def _layout(self, plan: Plan, dilation: int) -> Layout:
        return layout_of(plan, emulation.ends(plan, self.emulations(plan, dilation), dilation))

    def health(self, lab: str) -> dict[str, Health]:
        """Say how each node of a lab is by itself: whole, or being made. Whether it is as planned say `deviations`."""
        with _system_errors("look at nodes"), _opened(lab) as namespaces:
            return {namespace.node: _health(namespace) for namespace in namespaces}

    @contextmanager
    def _namespaces(self, lab: str) -> Iterator[list[Namespace]]:
        with _opened(lab) as namespaces:
            yield namespaces

    # What differs where nodes are more than namespaces.

    def _settle(self, layout: Layout, made: list[Namespace], progress: BuildProgress) -> None:
        """Make the namespaces of a lab and append each to `made`."""
        names = [node.name for node in layout.nodes]
        kernel.create_namespaces(layout.lab, names, made, progress)
        node_spaces.make(layout.lab, names)

    def _vacate(self, lab: str | None, nodes: Collection[str] | None = None) -> None:
        """Remove what of these nodes, or of all of a lab or of every lab, is not a namespace."""

    def _unfit(self, layout: Layout, past: Layout | None, nodes: set[str]) -> set[str]:
        """Return which nodes cannot be those of a layout, and have to go: of those that have a namespace, or less."""
        return nodes - {node.name for node in layout.nodes}

    def _introduce(self, layout: Layout) -> None:
        """Tell nodes that were there before the names of all hosts, where they do not learn them otherwise."""

    def _require_inhabited(self, layout: Layout) -> None:
        """Raise HostError if a node is more than a namespace, and that has ended already."""

    def _is_inhabited(self, layout: Layout) -> bool:
        """Tell whether that is there and as planned."""
        return True

    def _spawn(
        self, node: Namespace, argv: Sequence[str], hosts: Mapping[str, str], captured: bool
    ) -> subprocess.Popen[bytes]:
        """Start a program in a node, with this process's standard streams or with its output captured."""
        return processes.spawn_in(node.path, argv, hosts, captured)

    def _start(self, lab: str, node: str, argv: Sequence[str], captured: bool) -> subprocess.Popen[bytes]:
        with _system_errors("exec"), _opened(lab) as namespaces:
            nodes = {namespace.node: namespace for namespace in namespaces}
            if node not in nodes:
                raise DriverError(f"find node {node} of lab {lab}", errno.ENOENT)
            return self._spawn(nodes[node], argv, _addresses(namespaces), captured)

    def _stands(self, layout: Layout, dilation: int) -> bool:
        """Tell whether the lab stands as planned, shaping and netem set anew; remove what was never finished of it.

        Raises DriverError (EEXIST) if it stands and differs.
        """
        with _opened(layout.lab) as existing:
            if not existing:
                self._vacate(layout.lab)  # of containers a killed process may have left some without a namespace
                return False
            if all(map(_is_finished, existing)) and self._is_inhabited(layout):
                keep_indices(layout, read_indices(existing))
                compare(layout, existing)
                for namespace, node in zip(existing, sorted_nodes(layout), strict=True):
                    building.set_anew(namespace, node, dilation)
                return True
        self._remove(layout.lab, kernel.open_namespaces(layout.lab), ())
        return False

    def _finished(self, lab: str) -> list[Namespace]:
        """Open the namespaces of a lab, and remove those that a killed process left unfinished, all of them or a few.

        A few are what a change was adding: the others stay, with what runs in them. The caller closes the answer.
        """
        namespaces = kernel.open_namespaces(lab)
        finished = [namespace for namespace in namespaces if _is_finished(namespace)]
        rest = [namespace for namespace in namespaces if namespace not in finished]
        if rest and not finished:
            self._remove(lab, rest, ())
        elif rest:
            self._take_out(lab, rest)
        return finished

    def _take_out(self, lab: str, going: list[Namespace]) -> None:
        """Remove some nodes of a lab, with who lives there; closes their namespaces."""
        self._vacate(lab, {namespace.node for namespace in going})
        for namespace in going:
            cut_off(namespace)
        lab_processes.end_processes(going)
        kernel.remove_namespaces(going)
        node_spaces.remove_leftovers()

    def _remove(self, lab: str | None, namespaces: list[Namespace], spare: Collection[int]) -> None:
        """Remove namespaces and who lives there, and whatever a killed process left of others. Closes them."""
        try:
            for namespace in namespaces:
                namespace.netlink.apply([_LAB_FALLS])
            self._vacate(lab)
            if namespaces:
                lab_processes.end_processes(namespaces, spare)
        except BaseException:
            for namespace in namespaces:
                namespace.close()
            raise
        kernel.remove_namespaces(namespaces)
        kernel.remove_leftovers()
        node_spaces.remove_leftovers()

    def _alter(
        self,
        layout: Layout,
        past: Layout | None,
        existing: list[Namespace],
        dilation: int,
        progress: BuildProgress,
        traffic: Traffic | None,
    ) -> list[Attachment]:
        """Change a lab whose namespaces these are, and close them; return where its ports are then."""
        unfit = self._unfit(layout, past, {namespace.node for namespace in existing})
        going = [namespace for namespace in existing if namespace.node in unfit]
        staying = [namespace for namespace in existing if namespace.node not in unfit]
        taken = unfit | {namespace.node for namespace in existing}
        made: list[Namespace] = []
        try:
            self._vacate(layout.lab, unfit)
            lab_processes.end_processes(going)
            # Traffic does not wait for what takes its time, but for nodes whose names are taken.
            self._settle(part_of(layout, {node.name for node in layout.nodes} - taken), made, progress)
            if traffic is not None:
                quieten(layout, staying, going, dilation, traffic)
            if going:
                parting, going = going, []
                self._take_out(layout.lab, parting)
            self._settle(part_of(layout, unfit), made, progress)
            fresh, give_addresses = alter(layout, staying, made, dilation, progress)
            found = attachments(layout, fresh)
            if traffic is not None:
                traffic.replace(found)
            give_addresses()
            self._introduce(layout)
            self._require_inhabited(layout)
            for namespace in made:
                namespace.netlink.apply([_LAB_STANDS])
            return found
        finally:
            for namespace in [*staying, *going, *made]:
                namespace.close()

    def _build(self, layout: Layout, dilation: int, progress: BuildProgress) -> None:
        made: list[Namespace] = []
        try:
            self._settle(layout, made, progress)
            namespaces = {namespace.node: namespace for namespace in made}
            building.create_links(layout, namespaces, layout.links, progress)
            building.create_tunnels(layout, namespaces, layout.tunnels)
            interfaces = {node.name: node.interfaces for node in layout.nodes}
            building.configure_all(layout, namespaces, interfaces, dilation, progress)
            for namespace, node in zip(made, layout.nodes, strict=True):
                building.give_addresses(layout, namespace, node.interfaces)
            building.await_links(layout, namespaces)
            self._require_inhabited(layout)
            for namespace in made:
                namespace.netlink.apply([_LAB_STANDS])
        except BaseException:
            self._vacate(layout.lab)
            kernel.remove_namespaces(made)
            kernel.remove_leftovers()
            node_spaces.remove_leftovers()
            raise
        for namespace in made:
            namespace.close()


@contextmanager
def _system_errors(operation: str) -> Iterator[None]:
    """Turn what the system refuses outside of any single operation (no descriptors left …) into DriverError."""
    try:
        yield
    except OSError as error:
        raise DriverError(operation, error.errno or 0, error.filename or "") from error


@contextmanager
def _opened(lab: str | None) -> Iterator[list[Namespace]]:
    with ExitStack() as stack:
        namespaces = kernel.open_namespaces(lab)
        for namespace in namespaces:
            stack.callback(namespace.close)
        yield namespaces


def _is_finished(namespace: Namespace) -> bool:
    """Tell whether a namespace is not what a killed process left of one."""
    return bool(netlink.read_link(namespace.netlink, netlink.LOOPBACK_INDEX).flags & netlink.IFF_UP)


def _health(namespace: Namespace) -> Health:
    if not _is_finished(namespace):
        return Health("starting", "it is not whole yet")
    return HEALTHY


def _by_lab(namespaces: Sequence[Namespace]) -> dict[str, list[str]]:
    labs: defaultdict[str, list[str]] = defaultdict(list)
    for namespace in namespaces:
        labs[namespace.lab].append(namespace.node)
    return {lab: sorted(nodes) for lab, nodes in sorted(labs.items())}


def _addresses(namespaces: Sequence[Namespace]) -> dict[str, str]:
    """Return the address at which each host's kernel is found; switches have none."""
    return {
        namespace.node: address
        for namespace in namespaces
        for index, address, _prefix_length in ipv4.read_addresses(namespace.netlink)
        if index >= FIRST_INDEX
    }


@cache
def _has_netem() -> bool:
    return netem.probe()
