"""Links of a lab that kernel netem imposes: set and verified, counted while the lab runs, changed in place.

Works on namespaces that are open already; which links these are, and what they ask for, is `testbed.drivers.emulation`'s to say.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from testbed.drivers.emulation import Backlog
from testbed.errors import DriverError
from testbed.system import netem, netlink, qdisc
from testbed.system.namespaces import Namespace
from testbed.system.netem import Netem
from testbed.system.netlink import Netlink


def verify(control: Netlink, wanted: Mapping[int, Netem], where: str) -> None:
    """Compare what netem does on each interface, by index, with what was asked. Raises DriverError naming differences."""
    if not wanted:
        return
    configured = netem.read(control)
    for index, settings in wanted.items():
        present = configured.get(index)
        wrong = ["there is none"] if present is None else netem.differences(settings, present)
        if wrong:
            raise DriverError(f"set netem on interface {index} of {where}", errno.EBADMSG, "; ".join(wrong))


def change(control: Netlink, index: int, alter: Callable[[Netem], Netem], where: str) -> Netem:
    """Change the netem of an interface in place and return what it now does; frames inside stay due when they were.

    `alter` makes the new settings of the present ones. Raises DriverError (ENODEV) if there is no netem of ours, and as
    `verify` does.
    """
    present = configured(control, index)
    if present is None:
        raise DriverError(f"change netem on {where}", errno.ENODEV, "the data plane emulates this link, not netem")
    wanted = alter(present)
    if wanted.seed is None or present.seed is None:
        wanted = replace(wanted, seed=None)  # a kernel that reports none takes none
    control.apply(qdisc.new_qdisc(index, netem.qdisc(wanted)))
    verify(control, {index: wanted}, where)
    return wanted


def configured(control: Netlink, index: int) -> Netem | None:
    """Return what netem of ours does on an interface, as the kernel says; None if there is none."""
    root = qdisc.read_qdiscs(control).get(index)
    if root is None or (root.kind, root.handle) != (netem.KIND, netem.HANDLE):
        return None
    return netem.decode(root.options)


class Counters:
    """The counters of a lab's netems since this object was made. Holds the namespaces open; usable from any thread."""

    def __init__(self, namespaces: Sequence[Namespace]) -> None:
        self._guard = threading.Lock()
        self._names: dict[tuple[str, int], str] = {}
        self._namespaces: list[Namespace] = []
        for namespace in namespaces:
            imposed = netem.read(namespace.netlink)
            names = {link.index: link.name for link in netlink.read_links(namespace.netlink)} if imposed else {}
            self._names |= {(namespace.node, index): f"{namespace.node}:{names[index]}" for index in imposed}
            if imposed:
                self._namespaces.append(namespace)
            else:
                namespace.close()
        self._before = {name: backlog.lost for name, backlog in self._read().items()}

    def read(self) -> dict[str, Backlog]:
        """Return what each end has lost and holds, by `node:port`. What the shaper below dropped is no loss of a link."""
        with self._guard:
            return {
                name: replace(backlog, lost=backlog.lost - self._before.get(name, 0))
                for name, backlog in self._read().items()
            }

    def _read(self) -> dict[str, Backlog]:
        configured = {}
        for namespace in self._namespaces:
            counters = netem.read_statistics(namespace.netlink)
            for (index, handle), netem_counters in counters.items():
                name = self._names.get((namespace.node, index))
                if name is None or handle != netem.HANDLE:
                    continue
                below = counters.get((index, qdisc.SHAPER_HANDLE))
                dropped_below = below.dropped if below else 0
                configured[name] = Backlog(netem_counters.dropped - dropped_below, netem_counters.queued_frames)
        return configured

    def close(self) -> None:
        """Let go of the namespaces. May be called twice."""
        with self._guard:
            for namespace in self._namespaces:
                namespace.close()
            self._namespaces = []
