"""What this machine can and cannot do: the checks behind `testbed doctor`. Cheap, and they leave nothing behind.

Kernel features are probed in a network namespace that never gets a name, so that it vanishes with the thread that made it.
"""

from __future__ import annotations

import errno
import importlib
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from testbed.errors import DriverError
from testbed.system import namespaces, netem, netlink
from testbed.system.gates import gated
from testbed.system.netlink import Endpoint, Netlink
from testbed.system.qdisc import htb, set_qdisc

_MINIMUM_KERNEL = (5, 4)  # pidfd_open, PACKET_IGNORE_OUTGOING
_MINIMUM_CORES = 2
_MINIMUM_MEMORY_BYTES = 1 << 30
_MINIMUM_FILES = 4096
_WORST_TIMER_NS = 1_000
_DOCKER_SOCKET = "/var/run/docker.sock"
_PROGRAM_TIMEOUT_S = 5

_PROBE_INDEX = 101


@dataclass(frozen=True)
class Check:
    """One thing looked at. `detail`: what was found and, if it is not `ok`, what to do. `needed_for`: what rests on it."""

    name: str
    ok: bool
    detail: str
    needed_for: str


def checks() -> list[Check]:
    """Examine this machine. Raises nothing: what cannot be found out counts as missing, with the reason in `detail`."""
    return [
        _privileges(),
        _kernel_version(),
        *_kernel_features(),
        _timer(),
        _cores(),
        _memory(),
        _open_files(),
        _extension(),
        _docker(),
        _tshark(),
    ]


def has_netem() -> bool:
    """Return whether the kernel can impose delay and loss on a link; if not they are `native` to the data plane."""
    return not namespaces.missing_capabilities() and netem.probe()


def _privileges() -> Check:
    missing = namespaces.missing_capabilities()
    detail = f"{', '.join(missing)} missing; run as root" if missing else f"user {os.geteuid()}, all capabilities there"
    return Check("root", not missing, detail, "real clock")


def _kernel_version() -> Check:
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    enough = match is not None and (int(match[1]), int(match[2])) >= _MINIMUM_KERNEL
    wanted = ".".join(map(str, _MINIMUM_KERNEL))
    return Check("kernel", enough, release if enough else f"{release}; {wanted} or newer is needed", "real clock")


def _kernel_features() -> list[Check]:
    """Probe, in a namespace of its own, each feature that needs the one before."""
    needs = {
        "netns": "real clock",
        "veth": "real clock",
        "AF_PACKET": "real clock",
        "htb": "kernel traffic of hosts at the rate of their links",
        "tbf": "kernel traffic of hosts that loses nothing, `kernel: lossless`",
        "netem": "links imposed by netem; without it they are native to the data plane",
    }
    features = dict.fromkeys(needs, "not looked at: it needs what is missing above")
    if namespaces.missing_capabilities():
        features = dict.fromkeys(needs, "not looked at: that takes root")
    else:
        namespaces.in_thread(lambda: _probe(features))
    return [Check(name, not features[name], features[name] or "available", purpose) for name, purpose in needs.items()]


def _probe(features: dict[str, str]) -> None:
    """Write into `found` what is wrong with each feature, empty if nothing. Leaves the thread in a new namespace."""

    def attempt(name: str, work: Callable[[], None]) -> bool:
        try:
            work()
        except (DriverError, OSError) as error:
            absent = error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
            features[name] = "this kernel does not have it" if absent else str(error)
            return False
        features[name] = ""
        return True

    if not attempt("netns", namespaces.unshare_network):
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink() as control:
            a, b = (Endpoint(home, _PROBE_INDEX + end, f"probe{end}", None) for end in range(2))
            pair = netlink.create_veth(a, b, 1500, "create a veth pair")
            if attempt("veth", lambda: control.apply([pair])):
                attempt("AF_PACKET", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close())
                attempt("htb", lambda: set_qdisc(control, a.index, htb(1_000_000, 1500)))
                attempt("tbf", lambda: set_qdisc(control, a.index, gated(1_000_000, 1500, {3: (24,)})))
                attempt("netem", lambda: set_qdisc(control, b.index, netem.qdisc(netem.Netem())))
    finally:
        os.close(home)


def _timer() -> Check:
    resolution_ns = round(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9)
    return Check("timer", resolution_ns <= _WORST_TIMER_NS, f"resolution {resolution_ns} ns", "real clock on time")


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0))
    return Check("cores", cores >= _MINIMUM_CORES, f"{cores}; {_MINIMUM_CORES} or more wanted", "real clock on time")


def _memory() -> Check:
    with open("/proc/meminfo", encoding="utf-8") as file:
        available = next((int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")), 0)
    detail = f"{available >> 20} MiB available; {_MINIMUM_MEMORY_BYTES >> 20} wanted"
    return Check("memory", available >= _MINIMUM_MEMORY_BYTES, detail, "big labs, payload of collectives")


def _open_files() -> Check:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= _MINIMUM_FILES
    return Check("open files", enough, f"hard limit {hard}; {_MINIMUM_FILES} wanted", "labs of a thousand ports")


def _extension() -> Check:
    try:
        importlib.import_module("testbed._dataplane")
    except ImportError as error:
        return Check("data plane", False, f"{error}; build it with `make setup`", "every run")
    return Check("data plane", True, "imports", "every run")


def _docker() -> Check:
    """Ask the engine for a sign of life on its socket; the program alone proves nothing."""
    purpose = "driver docker"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
            engine.settimeout(_PROGRAM_TIMEOUT_S)
            engine.connect(_DOCKER_SOCKET)
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            answer = engine.recv(256).split(b"\r\n")[0].decode(errors="replace")
    except OSError as error:
        return Check("docker", False, f"no engine at {_DOCKER_SOCKET} ({error.strerror or error})", purpose)
    return Check("docker", " 200 " in f"{answer} ", answer, purpose)


def _tshark() -> Check:
    purpose = "reading captures"
    path = shutil.which("tshark")
    if path is None:
        return Check("tshark", False, "not installed", purpose)
    try:
        run = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check("tshark", False, str(error), purpose)
    return Check("tshark", True, run.stdout.partition("\n")[0], purpose)
