"""What else a node has to itself besides its network: a host name, System V and POSIX IPC, and /dev/shm.

Programs of one node share them, programs of two nodes do not: else what two hosts say to each other could pass by shared
memory, and no link between them would matter. A container has all of it from its engine.

Of each node a tmpfs in `DIRECTORY` holds the two namespaces, bound to files, what is its /dev/shm, and the names and addresses
of the hosts of its lab, which go into /etc/hosts. It has the name of the
node's network namespace and belongs to it: one whose namespace is gone is left over, and is removed with the next. What is
mounted within goes with it, in one call: each costs an RCU grace period.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import DriverError
from testbed.system import namespaces
from testbed.system.namespaces import MNT_DETACH, MS_BIND, MS_REC, MS_SHARED, check, libc

DIRECTORY = Path("/run/testbed-nodes")
_SPACES = {"uts": 0x04000000, "ipc": 0x08000000}
_SHM = Path("/dev/shm")
_QUEUES = Path("/dev/mqueue")
_HOSTS = "hosts"
_OF_A_PORT = "#port"
_MS_PLAIN = 0x2 | 0x4  # no set-user-id, no devices
_SOURCE = b"testbed"


@dataclass(frozen=True)
class Hosts:
    """The hosts of a lab: an address for each by its name, and of those with several ports one for each port."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=dict)

    def all(self) -> dict[str, str]:
        """Return every address by name; a host's name wins over that of another's port."""
        return {**self.ports, **self.addresses}


def make(lab: str, nodes: Mapping[str, Hosts]) -> None:
    """Give each node namespaces of its own, and addresses of hosts by name. Call under `kernel.exclusive`, after its
    network namespace was made.
    """
    folders = [(node, folder_of(namespaces.namespace_path(lab, node))) for node in nodes]

    def work() -> None:
        for node, folder in folders:
            check(libc.unshare(sum(_SPACES.values())), f"create UTS and IPC namespaces of {node}")
            name = node.encode()
            check(libc.sethostname(name, len(name)), f"name node {node}")
            _remove(folder)  # of a node that a killed process did not remove to the end
            folder.mkdir()
            _mount(_SOURCE, folder, b"tmpfs", _MS_PLAIN, b"mode=700")
            for space in _SPACES:
                (folder / space).touch(mode=0)
                _mount(f"/proc/thread-self/ns/{space}".encode(), folder / space, b"none", MS_BIND)
            (folder / "shm").mkdir()
            (folder / "shm").chmod(0o1777)
            (folder / _HOSTS).write_text(_lines(nodes[node]))

    if folders:
        _prepare_directory()
        namespaces.in_thread(work)


def write_hosts(path: str, hosts: Hosts) -> None:
    """Give the node whose network namespace is bound at `path` other hosts; programs that start from now on see them."""
    target = folder_of(path) / _HOSTS
    fresh = target.with_suffix(".new")
    fresh.write_text(_lines(hosts))
    fresh.rename(target)


def read_hosts(path: str) -> bytes:
    """Return the lines that a node's /etc/hosts begins with."""
    return (folder_of(path) / _HOSTS).read_bytes()


def hosts_of(path: str) -> dict[str, str]:
    """Return the addresses of the hosts of a node's lab by name, without those of single ports."""
    lines = [line.split() for line in read_hosts(path).decode().splitlines()]
    return {name: address for address, name, *more in lines if more != [_OF_A_PORT]}


def _lines(hosts: Hosts) -> str:
    named = "".join(f"{address}\t{name}\n" for name, address in sorted(hosts.addresses.items()))
    ports = "".join(f"{address}\t{name} {_OF_A_PORT}\n" for name, address in sorted(hosts.ports.items()))
    return named + ports


def enter(path: str) -> None:
    """Move the calling thread into the spaces of the node whose network namespace is bound at `path`; it must end there."""
    folder = folder_of(path)
    for space, flag in _SPACES.items():
        try:
            fd = os.open(folder / space, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            detail = f"the lab was made by a testbed that knew none; redeploy it to have a node with {space} of its own"
            raise DriverError(f"enter {folder / space}", errno.ENOENT, detail) from None
        try:
            check(libc.setns(fd, flag), f"enter {folder / space}")
        finally:
            os.close(fd)


def mount(path: str) -> None:
    """Show a node's /dev/shm and message queues; in a thread that is in the node's spaces and has mounts of its own."""
    if _SHM.is_dir():
        _mount(bytes(folder_of(path) / "shm"), _SHM, b"none", MS_BIND)
    if _QUEUES.is_dir():
        # Where the kernel has no such queues there is nothing to part.
        libc.mount(b"mqueue", bytes(_QUEUES), b"mqueue", _MS_PLAIN, None)


def remove_leftovers() -> None:
    """Remove what belongs to no network namespace any more. Call under `kernel.exclusive`, after those were removed."""
    try:
        names = os.listdir(DIRECTORY)
    except FileNotFoundError:
        return
    gone = [name for name in names if not os.path.lexists(f"{namespaces.NAMESPACE_DIRECTORY}/{name}")]
    if len(gone) < len(names):
        for name in gone:
            _remove(DIRECTORY / name)
        return
    libc.umount2(bytes(DIRECTORY), MNT_DETACH)
    with suppress(OSError):  # what somebody else put there is left alone
        DIRECTORY.rmdir()


def folder_of(path: str) -> Path:
    """Return where the spaces of the node are whose network namespace is bound at `path`."""
    return DIRECTORY / os.path.basename(path)


def _remove(folder: Path) -> None:
    """Remove a node's tmpfs, as far as it was made."""
    if not folder.exists():
        return
    # What is not mounted, because a killed process came no farther, is as good as unmounted.
    libc.umount2(bytes(folder), MNT_DETACH)
    folder.rmdir()


def _prepare_directory() -> None:
    """Mount a tmpfs of ours that programs in nodes see changes of: what is unmounted goes from their view too."""
    if DIRECTORY.is_mount():
        return
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    _mount(_SOURCE, DIRECTORY, b"tmpfs", 0, b"mode=700")
    _mount(b"", DIRECTORY, b"none", MS_SHARED | MS_REC)


def _mount(source: bytes, target: Path, kind: bytes, flags: int, options: bytes | None = None) -> None:
    check(libc.mount(source, bytes(target), kind, flags, options), f"mount {target}")
