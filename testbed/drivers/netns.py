"""Labs out of network namespaces and veth pairs.

The plan is first turned into what each namespace shall hold (`layout.py`, pure); building sends that to the kernel in one
send for all links and one for each namespace (`construction.py`); comparing reads it back.
"""

from __future__ import annotations

import errno
import ipaddress
import subprocess
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from testbed.contract.plan import Attachment, Plan
from testbed.drivers import NOTHING_BY_HAND, ByHand, Traffic, carriers, emulation, links
from testbed.drivers.alteration import read_indices
from testbed.drivers.comparison import deviations
from testbed.drivers.construction import Construction, is_finished, opened
from testbed.drivers.emulation import Emulation
from testbed.drivers.inhabitants import Inhabitants
from testbed.drivers.layout import FIRST_INDEX, Layout, attachments, keep_indices, layout_of
from testbed.errors import DriverError
from testbed.health import HEALTHY, Health
from testbed.progress import BuildProgress
from testbed.system import forwarding, gathering, ipv4, netem, netlink, node_spaces, qdisc
from testbed.system import namespaces as kernel
from testbed.system.namespaces import Namespace
from testbed.system.netem import Netem
from testbed.system.netlink import Netlink


class NetnsDriver:
    """The driver that makes a node a network namespace, in which `inhabitants` live. Holds no state: labs live in the system."""

    def __init__(self, inhabitants: Inhabitants | None = None) -> None:
        self._inhabitants = inhabitants or Inhabitants()
        self._construction = Construction(self._inhabitants)

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
            if not self._construction.stands(layout, dilation):
                self._construction.build(layout, dilation, progress or BuildProgress())
        return attachments(layout)

    def require(self, plan: Plan) -> None:
        """Raise HostError where this machine lacks something that a plan names; touch nothing."""
        self._inhabitants.require(plan)

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
            existing = self._construction.finished(layout.lab)
            if not existing:
                self._construction.build(layout, dilation, progress)
                attached = attachments(
                    layout, {(node.name, end.name) for node in layout.nodes for end in node.interfaces}
                )
                if traffic is not None:
                    traffic.replace(attached)
                return attached
            return self._construction.change(layout, past, existing, dilation, progress, traffic)

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
            others = self._inhabitants.labs(lab)
            namespaces = kernel.open_namespaces(lab)
            labs = _by_lab(namespaces, others)
            self._construction.remove(lab, namespaces, spare)
        return labs

    def list_labs(self) -> dict[str, list[str]]:
        """Return the labs on this machine and their nodes, read from labels; what has no namespace, or none yet, included."""
        with _system_errors("list labs"), opened(None) as namespaces:
            return _by_lab(namespaces, self._inhabitants.labs(None))

    def namespace_path(self, lab: str, node: str) -> str:
        """Return the path of a node's namespace. Raises DriverError if there is no such node."""
        path = kernel.namespace_path(lab, node)
        if node not in self.list_labs().get(lab, []):
            raise DriverError(f"find node {node} of lab {lab}", errno.ENOENT)
        return path

    def exec_in(self, lab: str, node: str, argv: Sequence[str]) -> int:
        """Run a program inside a node with this process's standard streams; return its exit status.

        The names of the lab's hosts, at whatever agent, lead to the addresses of their kernels. A program ended by signal n
        gives 128 + n, as in a shell. TERM, HUP and INT are sent on to the program; ^C reaches it from the terminal. Raises
        DriverError if the program cannot be started.
        """
        (status,) = forwarding.wait(lambda: [self._start(lab, node, argv, captured=False)])
        return _as_in_a_shell(status)

    def exec_all(self, lab: str, argv: Sequence[str], write: Callable[[str, bytes], None]) -> dict[str, int]:
        """Run a program inside every host of a lab that is here, at once and without input; return exit statuses by host.

        `write` hears each line of what they say, with its host, one at a time. `TESTBED_RANK`, `TESTBED_SIZE` and
        `TESTBED_HOST` in the environment tell one from the others. Otherwise as `exec_in`.
        """
        hosts = self.hosts(lab)
        here = [host for host in hosts if host in self.list_labs().get(lab, [])]
        ranks = {host: str(rank) for rank, host in enumerate(hosts)}
        gathered = gathering.Gathering(write)

        def start() -> list[subprocess.Popen[bytes]]:
            for host in here:
                own = {"TESTBED_RANK": ranks[host], "TESTBED_SIZE": str(len(hosts)), "TESTBED_HOST": host}
                gathered.add(host, self._start(lab, host, argv, captured=True, variables=own))
            return gathered.processes

        with gathered:
            statuses = forwarding.wait(start)
        return {host: _as_in_a_shell(status) for host, status in zip(here, statuses, strict=True)}

    def hosts(self, lab: str) -> dict[str, str]:
        """Return the addresses of a lab's hosts by name, in the order of their ranks: of all, or of containers of those here."""
        with _system_errors("find hosts"), opened(lab) as namespaces:
            bare = next((each for each in namespaces if not each.contained), None)
            hosts = _addresses(namespaces) if bare is None else node_spaces.hosts_of(bare.path)
        return dict(sorted(hosts.items(), key=lambda entry: ipaddress.ip_address(entry[1])))

    def emulations(self, plan: Plan, dilation: int = 1) -> list[Emulation]:
        """Return for each link of a plan whether `deploy` has it imposed by netem. Raises HostError as `deploy` does."""
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
            return links.change(control, index, lambda before: emulation.changed(before, change, dilation), endpoint)

    def configured(self, lab: str, endpoint: str) -> Netem | None:
        """Return what netem does to the frames that leave `endpoint`, in wall time, as the kernel says; None if native."""
        with _system_errors("read netem"), self._endpoint(lab, endpoint) as (control, index):
            return links.configured(control, index)

    @contextmanager
    def _endpoint(self, lab: str, endpoint: str) -> Iterator[tuple[Netlink, int]]:
        node, _, port = endpoint.partition(":")
        with opened(lab) as namespaces:
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
        said = out.decode(errors="replace"), errors.decode(errors="replace")
        return subprocess.CompletedProcess(list(argv), _as_in_a_shell(process.returncode), *said)

    def faults(self, lab: str) -> dict[str, str]:
        """Return what is wrong with nodes of a lab that stands, by node, as far as that is known without its plan."""
        with opened(lab) as namespaces:
            return self._inhabitants.faults(lab, namespaces)

    def deviations(self, plan: Plan, dilation: int = 1, by_hand: ByHand = NOTHING_BY_HAND) -> dict[str, str]:
        """Return what of each node of a lab is not as planned, by node; `by_hand` is what is otherwise since it was asked for."""
        layout = self._layout(plan, dilation)
        with _system_errors("compare a lab with its plan"), opened(layout.lab) as namespaces:
            keep_indices(layout, read_indices(namespaces))
            wrong = self._inhabitants.faults(layout.lab, namespaces)
            return deviations(layout, namespaces, dilation, by_hand) | wrong

    def set_carrier(self, plan: Plan, link: tuple[str, str], up: bool, dilation: int = 1) -> None:
        """Take the carrier of a link away at both its ends (`node:port`), or give it back."""
        layout = self._layout(plan, dilation)
        with _system_errors("set a carrier"), opened(layout.lab) as namespaces:
            keep_indices(layout, read_indices(namespaces))
            carriers.set_carrier(layout, namespaces, link, up)

    def _layout(self, plan: Plan, dilation: int) -> Layout:
        return layout_of(plan, emulation.ends(plan, self.emulations(plan, dilation), dilation))

    def health(self, lab: str) -> dict[str, Health]:
        """Return how each node of a lab is by itself: whole, or being made. Whether it is as planned say `deviations`."""
        with _system_errors("look at nodes"), opened(lab) as namespaces:
            states = {namespace.node: _health(namespace) for namespace in namespaces}
        for node, health in self._inhabitants.health(lab).items():
            if states.get(node, HEALTHY) == HEALTHY:
                states[node] = health
        return states

    def _start(
        self, lab: str, node: str, argv: Sequence[str], captured: bool, variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with _system_errors("exec"), opened(lab) as namespaces:
            nodes = {namespace.node: namespace for namespace in namespaces}
            if node not in nodes:
                raise DriverError(f"find node {node} of lab {lab}", errno.ENOENT)
            return self._inhabitants.start(nodes[node], argv, captured, variables or {})


@contextmanager
def _system_errors(operation: str) -> Iterator[None]:
    """Turn what the system refuses outside of any single operation (no descriptors left …) into DriverError."""
    try:
        yield
    except OSError as error:
        raise DriverError(operation, error.errno or 0, error.filename or "") from error


def _as_in_a_shell(status: int) -> int:
    """Return the exit status of a program as shells have it: 128 + n of one that signal n ended."""
    return status if status >= 0 else 128 - status


def _addresses(namespaces: Sequence[Namespace]) -> dict[str, str]:
    """Return the address at which each host's kernel is found, that of its first port; switches have none."""
    by_node = {namespace.node: ipv4.read_addresses(namespace.netlink) for namespace in namespaces}
    return {
        node: min(entry for entry in addresses if entry[0] >= FIRST_INDEX)[1]
        for node, addresses in by_node.items()
        if any(index >= FIRST_INDEX for index, _address, _length in addresses)
    }


def _health(namespace: Namespace) -> Health:
    if not is_finished(namespace):
        return Health("starting", "it is not whole yet")
    return HEALTHY


def _by_lab(namespaces: Sequence[Namespace], others: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return the nodes by lab: those that have a namespace, and others."""
    labs: defaultdict[str, set[str]] = defaultdict(set)
    for namespace in namespaces:
        labs[namespace.lab].add(namespace.node)
    for lab, nodes in others.items():
        labs[lab].update(nodes)
    return {lab: sorted(nodes) for lab, nodes in sorted(labs.items())}


@cache
def _has_netem() -> bool:
    return netem.probe()
