"""Programs inside a node: its network, its interfaces in /sys, its host name, IPC and /dev/shm (`node_spaces.py`), and the names
of its lab's hosts in /etc/hosts.

A program gets a mount namespace of its own, as with `ip netns exec`. What is mounted there ends with the last process in
it, whatever kills that, and nothing of it was ever on a disk: the hosts file lies on a tmpfs that no other process sees.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.errors import DriverError
from testbed.system import namespaces, node_spaces, private_pids
from testbed.system.namespaces import MNT_DETACH, MS_BIND, MS_REC, check, libc

_CLONE_NEWNS = 0x00020000
_MS_SLAVE = 1 << 19
_MS_HARDENED = 0x2 | 0x4 | 0x8  # no set-user-id, no devices, no execution
_MS_READ_ONLY = 0x1
_HOSTS = "/etc/hosts"
_SYS = "/sys"


def streams(captured: bool) -> dict[str, Any]:
    """Return what Popen is told of standard streams: this process's, or no input and output that is captured."""
    return {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if captured else {}


def spawn_in(
    path: str, argv: Sequence[str], captured: bool = False, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program inside the node whose network namespace is bound at `path`, with its `streams`.

    `variables` are added to this process's environment. The hosts of its lab are known there besides what the system's
    /etc/hosts knows; they go first. Raises DriverError if the namespace cannot be entered or the program not be started.
    """

    def work() -> subprocess.Popen[bytes]:
        namespaces.enter(path)
        node_spaces.enter(path)
        _prepare_mounts(node_spaces.read_hosts(path))
        node_spaces.mount(path)
        private_pids.enter(path)
        try:
            # A child is born into the namespaces of the thread that makes it.
            return subprocess.Popen(list(argv), env={**os.environ, **(variables or {})}, **streams(captured))
        except OSError as error:
            if not private_pids.is_whole(path):
                raise DriverError(f"run {argv[0]}", error.errno or 0, private_pids.GONE) from error
            raise DriverError(f"run {argv[0]}", error.errno or 0) from error

    return namespaces.in_thread(work)


def _prepare_mounts(hosts: bytes) -> None:
    """Move the calling thread into a mount namespace of its own with a hosts file and a view of /sys of its own."""
    check(libc.unshare(_CLONE_NEWNS), "create a mount namespace")
    # What is unmounted outside goes here too, so that a program in a node keeps nothing alive; not the other way round.
    check(libc.mount(b"none", b"/", None, MS_REC | _MS_SLAVE, None), "part from the mounts of the system")
    read_only = bool(os.statvfs(_SYS).f_flag & os.ST_RDONLY)
    try:
        # The first line that has a name counts.
        content = hosts + Path(_HOSTS).read_bytes()
        check(libc.mount(b"testbed", _SYS.encode(), b"tmpfs", 0, b"mode=755"), "mount a place for the hosts file")
        staged = Path(_SYS, "hosts")
        staged.write_bytes(content)
        staged.chmod(0o644)
        check(libc.mount(bytes(staged), _HOSTS.encode(), b"none", MS_BIND, None), f"bind {_HOSTS}")
        # The file stays where it is bound; /sys is free again.
        check(libc.umount2(_SYS.encode(), MNT_DETACH), "unmount the place of the hosts file")
    except OSError as error:
        raise DriverError(f"write {_HOSTS}", error.errno or 0) from error
    # The interfaces in sysfs are those of the namespace that mounts it. Where that is forbidden the view stays as it was.
    libc.mount(b"sysfs", _SYS.encode(), b"sysfs", _MS_HARDENED | (_MS_READ_ONLY if read_only else 0), None)
