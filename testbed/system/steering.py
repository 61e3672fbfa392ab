"""Frames of an interface kept in their order, whichever processors their sender runs on.

A veth end receives on the processor that sends, by a queue of its own for each: frames of one sender that moves overtake each
other. Steered to one processor (Linux: receive packet steering) they have one queue.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from testbed.system import namespaces
from testbed.system.namespaces import MS_REC, Namespace, check, libc

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_PRIVATE = 1 << 18
_SYS = Path("/sys")


def keep_order(namespace: Namespace, interfaces: Collection[str]) -> None:
    """Let one processor receive what comes in by interfaces of a namespace; a kernel without steering has one anyway.

    Raises DriverError where sysfs cannot be mounted.
    """
    processor = min(os.sched_getaffinity(0))
    # Groups of 32 processors, the last ones first.
    mask = ",".join([f"{1 << processor % 32:x}", *["00000000"] * (processor // 32)])

    def work() -> None:
        # What sysfs shows is of the namespace that mounts it, and mounts of this thread are seen by nobody else.
        check(libc.setns(namespace.fd, _CLONE_NEWNET), f"enter the namespace of {namespace.node}")
        check(libc.unshare(_CLONE_NEWNS), "create a mount namespace")
        check(libc.mount(b"none", b"/", None, MS_REC | _MS_PRIVATE, None), "make mounts private")
        check(libc.mount(b"sysfs", bytes(_SYS), b"sysfs", 0, None), "mount sysfs")
        for interface in interfaces:
            for queue in (_SYS / "class/net" / interface / "queues").glob("rx-*"):
                with suppress(FileNotFoundError):
                    (queue / "rps_cpus").write_text(mask, encoding="ascii")

    if interfaces:
        namespaces.in_thread(work)
