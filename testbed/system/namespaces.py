"""Named network namespaces: made, recognised as ours, entered and removed without a trace.

How a namespace becomes ours, so that a kill at any moment leaves nothing that cannot be recognised:

1. A thread of its own unshares. The namespace has no name yet and dies with the thread.
2. Its `lo` gets the label `testbed:<lab>:<node>` as alias.
3. An empty file of mode 01000, our mark, is made in /run/netns. `ip netns` makes its files with mode 0.
4. The namespace is bound over that file: from here on it has a name, and it has had its label since step 2.

So what is bound and bears the label that its name asks for is ours; a file with our mark and nothing bound over it is
what a kill between steps 3 and 4 left, or one in the middle of a removal; nothing else is ever touched. A lock file of
root's keeps the steps of two processes apart. The calling thread's namespace never changes: a thread that moved ends there.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
import resource
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from testbed.errors import DriverError, UsageError
from testbed.progress import BuildProgress
from testbed.system import netlink
from testbed.system.locks import locked
from testbed.system.netlink import Netlink

NAMESPACE_DIRECTORY = "/run/netns"
LOCK_FILE = Path("/run/testbed.lock")
# A lab of a thousand nodes holds it for five seconds on a busy machine.
LOCK_LIMIT_S = 60.0
_PREFIX = "testbed-"
_CONTAINED = ":docker"
_MARK_MODE = stat.S_ISVTX
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# A new namespace takes the values of the first one. A host without a route back goes on hearing.
NETWORK_SETTINGS = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
"""What the network stack of a node begins with, by the names of sysctl(8)."""

_CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 1 << 20
MNT_DETACH = 2
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}
_SPARE_DESCRIPTORS = 256

libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


@dataclass(frozen=True)
class Namespace:
    """A namespace of ours, held open: descriptor of the namespace and a netlink socket inside it. Close after use."""

    lab: str
    node: str
    fd: int
    netlink: Netlink
    contained: bool = False
    """It is that of a container."""

    @property
    def path(self) -> str:
        """Where the namespace is bound."""
        return namespace_path(self.lab, self.node)

    def close(self) -> None:
        """Let go of the namespace; it stays if it is bound."""
        self.netlink.close()
        os.close(self.fd)


def label(lab: str, node: str, contained: bool = False) -> str:
    """Return the alias that makes a namespace ours, and says whether it is that of a container."""
    return f"testbed:{lab}:{node}{_CONTAINED if contained else ''}"


def namespace_path(lab: str, node: str) -> str:
    """Return where the namespace of a node is bound. Raises UsageError for a name that is not safe in a path."""
    for name in (lab, node):
        if not _SAFE_NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not a valid name for a lab or node: letters, digits and ._- only")
    return f"{NAMESPACE_DIRECTORY}/{_PREFIX}{lab}-{node}"


def missing_capabilities() -> list[str]:
    """Return the capabilities that this thread needs for namespaces and raw frames and does not have."""
    with open("/proc/thread-self/status", encoding="utf-8") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def require_privileges(operation: str) -> None:
    """Raise DriverError if this process may not make network namespaces."""
    missing = missing_capabilities()
    if missing:
        raise DriverError(operation, errno.EPERM, f"needs root ({', '.join(missing)} missing)")


def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, which may change its namespace, and return or raise what it does.

    An interrupt is held back until the thread is done, so that what it made can be undone.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=body, name="testbed-namespace")
    thread.start()
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as error:
            interrupt = error
    if errors:
        raise errors[0]
    if interrupt is not None:
        raise interrupt
    return results[0]


def unshare_network() -> None:
    """Move the calling thread into a new network namespace; only for threads that end there."""
    check(libc.unshare(_CLONE_NEWNET), "create a network namespace")


@contextmanager
def exclusive() -> Iterator[None]:
    """Keep other processes of the testbed from making or removing namespaces meanwhile; any kind of death lets go.

    Raises HostError that names the holder when it is not free within a minute.
    """
    with locked(LOCK_FILE, LOCK_LIMIT_S):
        yield


def create_namespaces(lab: str, nodes: Sequence[str], made: list[Namespace], progress: BuildProgress) -> None:
    """Make a labelled namespace for each node, `lo` down, no IPv6, no forwarding, and append each to `made`.

    Call under `exclusive`. On DriverError `made` holds what must be removed again. About 1.2 ms each, one after the other:
    the kernel does most of it under one lock.
    """
    progress.begin("namespaces", len(nodes))

    def work() -> None:
        for node in nodes:
            unshare_network()
            made.append(_name(lab, node, contained=False))
            progress.advance()

    _prepare_directory()
    _allow_descriptors(len(nodes))
    in_thread(work)


def adopt_namespaces(
    lab: str, processes: Sequence[tuple[str, int]], made: list[Namespace], progress: BuildProgress
) -> None:
    """Do as `create_namespaces` with those that the processes of containers live in: (node, process id)."""
    progress.begin("namespaces", len(processes))

    def work() -> None:
        for node, process in processes:
            enter(f"/proc/{process}/ns/net")
            made.append(_name(lab, node, contained=True))
            progress.advance()

    _prepare_directory()
    _allow_descriptors(len(processes))
    in_thread(work)


def _allow_descriptors(namespaces: int) -> None:
    """Raise this process's limit of open files where so many namespaces would not fit; at most to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/proc/self/fd")) + 2 * namespaces + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def _name(lab: str, node: str, contained: bool) -> Namespace:
    """Label the calling thread's namespace and give it a name."""
    path = namespace_path(lab, node)
    with ExitStack() as undo:
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        undo.callback(os.close, fd)
        socket = undo.enter_context(Netlink())
        _write_sysctl("ipv6/conf/all/disable_ipv6", "1")
        # That of a container was made with these, or with others that its lab asks for.
        for name, value in NETWORK_SETTINGS.items() if not contained else ():
            _write_sysctl(name.removeprefix("net.").replace(".", "/"), value)
        socket.apply([netlink.set_link(netlink.LOOPBACK_INDEX, up=False, alias=label(lab, node, contained))])
        _mark(path)
        undo.callback(os.unlink, path)
        source = f"/proc/self/fd/{fd}"
        check(libc.mount(source.encode(), path.encode(), b"none", MS_BIND, None), f"bind namespace {path}")
        undo.pop_all()
    return Namespace(lab, node, fd, socket, contained)


def _write_sysctl(name: str, value: str) -> None:
    try:
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(value)
    except FileNotFoundError:
        return  # a kernel without that protocol needs no telling
    except OSError as error:
        raise DriverError(f"set net/{name}", error.errno or 0) from error


def _mark(path: str) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MARK_MODE))
    except FileExistsError as error:
        if not _is_mark(path):
            detail = "that name is taken by something which is not of this lab; remove it or rename the lab"
            raise DriverError(f"create namespace {path}", errno.EEXIST, detail) from error
    except OSError as error:
        raise DriverError(f"create namespace {path}", error.errno or 0) from error


def _is_mark(path: str) -> bool:
    """Return whether `path` is our empty file with nothing bound over it."""
    try:
        lstat = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(lstat.st_mode) and stat.S_IMODE(lstat.st_mode) == _MARK_MODE and lstat.st_size == 0


def open_namespaces(lab: str | None = None) -> list[Namespace]:
    """Open every namespace that bears our label, of one lab or of all, ordered by path. The caller closes them."""
    try:
        names = sorted(name for name in os.listdir(NAMESPACE_DIRECTORY) if name.startswith(_PREFIX))
    except FileNotFoundError:
        return []
    if lab is not None:
        names = [name for name in names if name.startswith(f"{_PREFIX}{lab}-")]
    if not names:
        return []
    require_privileges("read the labels of namespaces")
    _allow_descriptors(len(names))

    def work() -> list[Namespace]:
        return [opened for name in names if (opened := _open(f"{NAMESPACE_DIRECTORY}/{name}")) is not None]

    opened = in_thread(work)
    for other in [namespace for namespace in opened if lab not in (None, namespace.lab)]:
        other.close()  # lab "a" node "b-c" looks like lab "a-b" node "c" until its label is read
    return [namespace for namespace in opened if lab in (None, namespace.lab)]


def _open(path: str) -> Namespace | None:
    """Open a namespace if its label and its name agree; None if it is not ours. Changes the thread's namespace."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        os.close(fd)
        return None  # not a network namespace
    socket = Netlink()
    alias = netlink.read_link(socket, netlink.LOOPBACK_INDEX).alias
    contained = alias.endswith(_CONTAINED)
    owner, _, rest = alias.removesuffix(_CONTAINED).partition(":")
    lab, _, node = rest.partition(":")
    if owner == "testbed" and path == f"{NAMESPACE_DIRECTORY}/{_PREFIX}{lab}-{node}":
        return Namespace(lab, node, fd, socket, contained)
    socket.close()
    os.close(fd)
    return None


def remove_namespaces(namespaces: Iterable[Namespace]) -> None:
    """Unbind and close namespaces, last made first. Call under `exclusive`.

    The kernel takes their interfaces apart by itself as soon as nothing uses them any more.
    """
    for namespace in reversed(list(namespaces)):
        path = namespace.path
        namespace.close()
        check(libc.umount2(path.encode(), MNT_DETACH), f"unbind namespace {path}")
        os.unlink(path)


def remove_leftovers() -> None:
    """Remove marks that a killed process left without a namespace, and our mount of /run/netns if it is empty.

    Call under `exclusive`.
    """
    try:
        names = os.listdir(NAMESPACE_DIRECTORY)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{NAMESPACE_DIRECTORY}/{name}"
        if name.startswith(_PREFIX) and _is_mark(path):
            os.unlink(path)
            names = [other for other in names if other != name]
    if not names and _is_our_mount(NAMESPACE_DIRECTORY):
        # Refused while anything at all uses it, which is then the reason to leave it.
        libc.umount2(NAMESPACE_DIRECTORY.encode(), 0)


def _is_our_mount(path: str) -> bool:
    """Return whether what `path` shows is the tmpfs that this tool mounted. The mount table lists covered mounts too."""
    device = os.stat(path).st_dev
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            number, target = left.split()[2:5:2]
            if target == path and number == f"{os.major(device)}:{os.minor(device)}":
                return right.split()[:2] == ["tmpfs", "testbed"]
    return False


def _prepare_directory() -> None:
    """Make /run/netns a shared mount, as `ip netns add` does: else its first use would hide ours under a copy.

    Where nothing is there yet a tmpfs of our name is mounted, so that the last lab can take it away again.
    """
    os.makedirs(NAMESPACE_DIRECTORY, mode=0o755, exist_ok=True)
    directory = NAMESPACE_DIRECTORY.encode()
    operation = f"mount {NAMESPACE_DIRECTORY}"
    share = functools.partial(libc.mount, b"", directory, b"none", MS_SHARED | MS_REC, None)
    if share() == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:  # which says that nothing is mounted there
        raise DriverError(operation, ctypes.get_errno())
    if os.listdir(NAMESPACE_DIRECTORY):
        check(libc.mount(directory, directory, b"none", MS_BIND | MS_REC, None), operation)
    else:
        check(libc.mount(b"testbed", directory, b"tmpfs", 0, b"mode=755"), operation)
    check(share(), operation)


def enter(path: str) -> None:
    """Move the calling thread into the namespace bound at `path`; only for threads that end there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DriverError(f"open namespace {path}", error.errno or 0) from error
    try:
        check(libc.setns(fd, _CLONE_NEWNET), f"enter namespace {path}")
    finally:
        os.close(fd)


def check(result: int, operation: str) -> None:
    """Raise DriverError if a call into libc has just failed."""
    if result != 0:
        raise DriverError(operation, ctypes.get_errno())
