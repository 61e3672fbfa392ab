"""Processes that a node has to itself: a PID namespace, for nodes whose lab asks for it, as a container has one.

A program there sees the processes of its node alone, numbered from 1, and they all end with the first of them. That one is a
shell of ours, which does nothing but take in whose parents have ended; it lives in the network namespace of the node, and is
ended with what else is there when the lab is removed. The namespace is bound to a file beside the node's others
(`node_spaces.py`), and so is a /proc that shows it, since only a process inside can mount one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from testbed.errors import DriverError
from testbed.system import namespaces, node_spaces
from testbed.system.namespaces import MS_BIND, MS_REC, check, libc

GONE = "the first of its processes has ended, and all others with it; deploy the lab again"

_CLONE_NEWPID = 0x20000000
_NAME = "pid"
_PROC = "proc"
_PROCESS = "first"
# $1: where to mount /proc. The trap ends the shell, as the first process of a namespace ignores what it does not handle.
_FIRST = 'trap "exit 0" TERM; mount -t proc proc "$1" && echo ready && while :; do sleep 86400 & wait $!; done'


def make(lab: str, nodes: Iterable[str]) -> None:
    """Give nodes processes of their own. Call after `node_spaces.make`. Raises DriverError."""
    for node in nodes:
        path = namespaces.namespace_path(lab, node)
        namespaces.in_thread(lambda path=path: _begin(path))  # type: ignore[misc]


def exists(path: str) -> bool:
    """Return whether the node whose network namespace is bound at `path` was given processes of its own."""
    return (node_spaces.folder_of(path) / _PROCESS).exists()


def is_whole(path: str) -> bool:
    """Return whether its first process lives; True too for a node without processes of its own."""
    folder = node_spaces.folder_of(path)
    try:
        first = (folder / _PROCESS).read_text()
    except FileNotFoundError:
        return True
    try:
        is_there = os.path.samestat(os.stat(f"/proc/{first}/ns/pid"), os.stat(folder / _NAME))
        # One that has ended has its namespace until somebody takes note of it.
        return is_there and Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def enter(path: str) -> None:
    """Let the calling thread's children be born among the processes of a node, if it has its own, and show them in /proc.

    For a thread that has mounts of its own and ends there.
    """
    if not exists(path):
        return
    folder = node_spaces.folder_of(path)
    fd = os.open(folder / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(libc.setns(fd, _CLONE_NEWPID), f"enter {folder / _NAME}")
    finally:
        os.close(fd)
    check(libc.mount(bytes(folder / _PROC), b"/proc", b"none", MS_BIND | MS_REC, None), "mount /proc")


def _begin(path: str) -> None:
    """Start the first process of a namespace, in a thread that ends then."""
    folder = node_spaces.folder_of(path)
    (folder / _PROC).mkdir()
    namespaces.enter(path)
    node_spaces.enter(path)
    check(libc.unshare(_CLONE_NEWPID), f"create a PID namespace of {folder.name}")
    # It outlives this process, so that it keeps none of its streams, and hears nothing of its terminal.
    first = subprocess.Popen(
        ["sh", "-c", _FIRST, "testbed-node", str(folder / _PROC)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert first.stdout is not None
    with first.stdout as said:
        if said.readline() != b"ready\n":
            first.kill()
            raise DriverError(f"mount /proc of {folder.name}", 0, "its first process has ended")
    (folder / _NAME).touch(mode=0)
    source = f"/proc/{first.pid}/ns/pid".encode()
    check(libc.mount(source, bytes(folder / _NAME), b"none", MS_BIND, None), f"bind {folder / _NAME}")
    Path(folder / _PROCESS).write_text(str(first.pid))
